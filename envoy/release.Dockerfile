# The images of a release, from what `make dist` has built: scripts/images.sh. Nothing runs here, so that every platform can be made on
# any machine.
ARG ENVOY_IMAGE=docker.io/envoyproxy/envoy:v1.40.0

# Envoy with the module in it. A configuration is added.
FROM ${ENVOY_IMAGE} AS envoy
COPY genesys_mtls_filter.wasm /etc/envoy/genesys_mtls_filter.wasm
USER 101:101

# The command-line tool.
FROM scratch AS tool
ARG TARGETARCH
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY ${TARGETARCH}/genesys-mtls /usr/bin/genesys-mtls
USER 65532:65532
ENTRYPOINT ["/usr/bin/genesys-mtls"]

# What docker-compose.yaml needs around Envoy.
FROM scratch AS testbed
ARG TARGETARCH
COPY ${TARGETARCH}/compose /usr/local/bin/compose
# A volume that starts from it takes over the owner.
COPY --chown=101:101 world /world
# Keys are made here.
ENV CARGO_TARGET_DIR=/tmp
USER 101:101
ENTRYPOINT ["/usr/local/bin/compose"]
