# Nothing but runner and two programs, all static; no shell, no libraries, no /etc. In the root of the repository:
#
#     docker build --file examples/docker/scratch.Dockerfile --tag demo .
#     docker run --rm --read-only --tmpfs /tmp --publish 8080:8080 demo

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo image --bin runner --example web --example worker
# /tmp is where runner of anybody but root has its socket: with it, `runner health` and the other verbs work in the container.
RUN install -d /image/usr/local/bin /image/srv/demo && install -d -m 1777 /image/tmp \
    && install target/*/image/runner target/*/image/examples/web target/*/image/examples/worker /image/usr/local/bin/

FROM scratch
COPY --from=build /image/ /
COPY examples/docker/services.toml examples/docker/greeting.txt /srv/demo/
WORKDIR /srv/demo
USER 12345:12345
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s CMD ["/usr/local/bin/runner", "health"]
ENTRYPOINT ["/usr/local/bin/runner", "up"]
