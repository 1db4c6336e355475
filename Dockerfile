# The program and what it links, and nothing else: no shell, no package manager, no root. Needs BuildKit.
#   docker build --tag heartbeat-bridge:0.1.0 \
#     --build-arg HEARTBEAT_BUILD_REVISION="$(git rev-parse HEAD)" \
#     --build-arg HEARTBEAT_BUILD_BRANCH="$(git rev-parse --abbrev-ref HEAD)" \
#     --build-arg HEARTBEAT_BUILD_DATE="$(git show --no-patch --format=%cI HEAD)" .

# Debian 12 in both stages, so that the program finds the C library that it was linked with. This image has gcc, which
# is all that aws-lc-sys and mimalloc need.
FROM rust:1.95.0-slim-bookworm AS build
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
WORKDIR /build

# The dependencies first, with sources that hold nothing, so that this layer is kept until the dependencies change.
# Cargo insists that every file exists that the manifest names.
COPY Cargo.toml Cargo.lock build.rs ./
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    sed -n -e '/^\[\[/,/^$/ s|^name = "\(.*\)"$|tests/\1.rs|p' -e 's|^path = "\(.*\)"$|\1|p' Cargo.toml \
    | while read -r file; do mkdir -p "$(dirname "$file")" && echo 'fn main() {}' >"$file"; done \
    && echo >src/lib.rs \
    && cargo build --release --locked --bin heartbeat

# What the environment says of the source, since git's folder is not here.
ARG HEARTBEAT_BUILD_REVISION=unknown
ARG HEARTBEAT_BUILD_BRANCH=unknown
ARG HEARTBEAT_BUILD_DATE=unknown
COPY src src
# Cargo goes by the times of files, and the empty ones are the newer.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    find src build.rs -type f -exec touch {} + \
    && cargo build --release --locked --bin heartbeat \
    && target/release/heartbeat --version

# glibc, libgcc and the roots of certification authorities. Distroless has no tags of versions: this is of August 2026.
FROM gcr.io/distroless/cc-debian12:nonroot@sha256:9dac0a79194e45a7da0158a9c6da57b217585af0786db3845d1f0ec1a0dd182f
ARG HEARTBEAT_BUILD_REVISION=unknown
ARG HEARTBEAT_BUILD_DATE=unknown
LABEL org.opencontainers.image.title="Heartbeat" \
      org.opencontainers.image.description="Sees into a secluded network: heartbeats over RabbitMQ, shown to Prometheus" \
      org.opencontainers.image.source="https://github.com/ELIXIR-NO/heartbeat-bridge" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${HEARTBEAT_BUILD_REVISION}" \
      org.opencontainers.image.created="${HEARTBEAT_BUILD_DATE}"
COPY --from=build /build/target/release/heartbeat /usr/local/bin/heartbeat

# One file whatever the role, so that the check below need not know it. A container of which nothing is writable needs
# a tmpfs at /tmp for it.
ENV HEALTH_FILE=/tmp/heartbeat.health
USER 65532:65532
# The subscriber's; the publisher listens nowhere.
EXPOSE 11911
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["/usr/local/bin/heartbeat", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/heartbeat"]
# Followed by a role: publisher, subscriber or standalone. Without one, HEARTBEAT_MODE decides.
