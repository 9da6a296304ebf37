# On an image that has certificates, time zones, a user and /tmp, but no shell. In the root of the repository:
#
#     docker build --file examples/docker/distroless.Dockerfile --tag demo .
#     docker run --rm --publish 8080:8080 demo

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo image --bin runner --example web --example worker
RUN install -d /image && install target/*/image/runner target/*/image/examples/web target/*/image/examples/worker /image/

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /image/ /usr/local/bin/
COPY examples/docker/services.toml examples/docker/greeting.txt /srv/demo/
WORKDIR /srv/demo
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s CMD ["/usr/local/bin/runner", "health"]
ENTRYPOINT ["/usr/local/bin/runner", "up"]
