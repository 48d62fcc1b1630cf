# syntax=docker/dockerfile:1

# Of the compiler's later versions, some may write profiles that Debian's LLVM does not read.
FROM rust:1.95-bookworm AS build

# Pingora's zlib-ng is built with cmake; llvm-19 reads profiles. Debian takes old versions of a package
# off its mirrors, so a pinned one would stop the build some day.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake make llvm-19 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY Cargo.toml Cargo.lock Makefile ./
# Cargo reads the list of targets before it builds one: benches and tests have to be there.
COPY benches benches
COPY tests tests
COPY config config
COPY src src
# `guided` builds twice, and is put under load in between; `release` builds once, and suits a machine that
# only emulates the image's.
ARG BUILD=guided
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    make "$BUILD" \
    && install -D "target/$BUILD/keybearer" /out/usr/local/bin/keybearer

# All that the program needs of a system: the libraries it is linked with, certificates, and a user
# of no rights. glibc has its resolver built in.
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN ldd /out/usr/local/bin/keybearer | grep -o '/[^ ]*' \
      | while read -r library; do install -D "$library" "/out$library"; done \
    && install -D /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ca-certificates.crt \
    && echo 'keybearer:x:65532:65532::/:/nonexistent' > /out/etc/passwd \
    && echo 'keybearer:x:65532:' > /out/etc/group \
    && install -d -m 0700 /state/keybearer

# No shell, no package manager.
FROM scratch

LABEL org.opencontainers.image.title="keybearer" \
      org.opencontainers.image.description="A credential-injecting reverse proxy" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /out/ /
# A volume that is mounted there takes its owner over.
COPY --from=build --chown=65532:65532 /state/ /var/lib/
COPY LICENSE /usr/share/doc/keybearer/LICENSE

USER 65532:65532
WORKDIR /
# Nothing is written to the root file system, which may be read-only; tokens of persons go to a volume
# at store.path. Configuration: /etc/keybearer/keybearer.toml
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/keybearer", "health"]
ENTRYPOINT ["/usr/local/bin/keybearer"]
CMD ["run"]
