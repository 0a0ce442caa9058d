# A worker on one GPU, from a tarball of `make dist LIBTORCH_DIR=folder` with a CUDA libtorch, which brings
# CUDA's libraries; the driver comes from the machine, by the NVIDIA container toolkit:
#   docker build -f deploy/docker/worker-cuda.Dockerfile -t espalier-worker:0.1.0-cuda target/dist
FROM debian:12-slim

ARG VERSION=0.1.0
# An init: evaluators may leave processes behind, and the first process of a container has to reap them.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/*
ADD espalier-worker-${VERSION}-linux-x86_64-cuda.tar.gz /opt/
RUN ln -s "espalier-${VERSION}" /opt/espalier \
 && useradd --system --uid 10001 --create-home --home-dir /home/espalier espalier \
 && install -d -o espalier -g espalier -m 0700 /var/lib/espalier /var/cache/espalier

ENV PATH=/opt/espalier/bin:$PATH \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    ESPALIER_DEVICE=cuda:0 \
    ESPALIER_LOG_FORMAT=json \
    ESPALIER_DATA_ROOT=/data \
    ESPALIER_CACHE_DIR=/var/cache/espalier \
    ESPALIER_WORK_DIR=/var/lib/espalier
USER 10001
VOLUME ["/var/lib/espalier", "/var/cache/espalier"]
# The worker writes the file `alive` every 10 s once it has joined.
HEALTHCHECK --interval=30s --timeout=10s --start-period=5m \
  CMD ["sh", "-c", "test -n \"$(find /var/lib/espalier/alive -mmin -2)\""]
ENTRYPOINT ["tini", "--", "espalier-worker"]
# The coordinator's address and the token come from the environment: ESPALIER_JOIN, ESPALIER_TOKEN_FILE.
CMD []
