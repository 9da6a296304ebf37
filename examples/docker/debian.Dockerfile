# On Debian, whose C library runner then uses: with everything in it, for whoever works in the container. In the root of
# the repository:
#
#     docker build --file examples/docker/debian.Dockerfile --tag demo .
#     docker run --rm --publish 8080:8080 demo

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --bin runner --example web --example worker
RUN install -d /image && install target/release/runner target/release/examples/web target/release/examples/worker /image/

FROM debian:bookworm-slim
COPY --from=build /image/ /usr/local/bin/
COPY examples/docker/services.toml examples/docker/greeting.txt /srv/demo/
WORKDIR /srv/demo
USER nobody
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --start-interval=1s CMD ["runner", "health"]
ENTRYPOINT ["runner", "up"]
