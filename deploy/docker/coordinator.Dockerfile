# The coordinator and the command line, from a tarball of `make dist`:
#   docker build -f deploy/docker/coordinator.Dockerfile -t espalier:0.1.0 target/dist
# Debian 12's glibc is what the release asks for (README in the tarball).
FROM debian:12-slim

ARG VERSION=0.1.0
ADD espalier-${VERSION}-linux-x86_64.tar.gz /opt/
RUN ln -s "espalier-${VERSION}" /opt/espalier \
 && useradd --system --uid 10001 --create-home --home-dir /home/espalier espalier \
 && install -d -o espalier -g espalier -m 0700 /var/lib/espalier

ENV PATH=/opt/espalier/bin:$PATH \
    ESPALIER_LOG_FORMAT=json
USER 10001
VOLUME /var/lib/espalier
EXPOSE 7777
# The token names the authority to trust; none is sent.
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s \
  CMD ["espalier", "health", "--address", "https://127.0.0.1:7777", "--token-file", "/var/lib/espalier/tokens/viewer.token"]
ENTRYPOINT ["espalier"]
CMD ["serve", "--listen", "0.0.0.0:7777", "--data-dir", "/var/lib/espalier", "--token-dir", "/var/lib/espalier/tokens"]
