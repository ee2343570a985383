# Builds three images:  docker build --target scorer|trainer|dashboard -t stream-scorer/TARGET .
# Uses plain syntax only, so that the classic builder, BuildKit and podman can build it. If you know the
# sources and the commit, pass them:
#   --build-arg VERSION=1.2.3 --build-arg REVISION=$(git rev-parse HEAD)
#   --label org.opencontainers.image.source=https://…
ARG PYTHON_VERSION=3.11
# The version of the package and of the label, in PEP 440 form. The build context has no .git.
ARG VERSION=0.1.0.dev0

FROM python:${PYTHON_VERSION}-slim AS base
# The CPU that the kernels are compiled for. It is fixed, because kernels compiled for the build machine
# might not run on another one. x86-64-v3 covers every server CPU since 2013 (AVX2). For arm64 images, pass
# --build-arg KERNEL_CPU=neoverse-n1.
ARG KERNEL_CPU=x86-64-v3
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NUMBA_CPU_NAME=${KERNEL_CPU} \
    NUMBA_CPU_FEATURES=
# LightGBM is linked against the OpenMP runtime library.
RUN apt-get update -q \
    && apt-get install -y -q --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log \
    && groupadd --gid 10001 app \
    && useradd --no-log-init --uid 10001 --gid app --home-dir /nonexistent \
       --shell /usr/sbin/nologin app

FROM base AS wheel
WORKDIR /src
COPY locks/build.txt locks/build.txt
RUN pip install -q --no-cache-dir --require-hashes --only-binary :all: -r locks/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY stream_scorer stream_scorer
COPY trainer trainer
COPY dashboard dashboard
ARG VERSION
RUN SETUPTOOLS_SCM_PRETEND_VERSION="${VERSION}" \
    pip wheel -q --no-deps --no-build-isolation --wheel-dir /dist .

# The packages of each image, from its hash lock. Tests, C headers and the data of AWS services that are not
# used are removed. pip itself is not installed into the environment.
FROM base AS scorer-packages
COPY locks/scorer.txt /locks/
RUN python -m venv --without-pip /opt/venv \
    && pip --python /opt/venv/bin/python install -q --no-cache-dir --compile \
       --require-hashes --only-binary :all: -r /locks/scorer.txt \
    && find /opt/venv -depth -type d \( -name tests -o -name include \) -exec rm -rf {} + \
    && find /opt/venv/lib/*/site-packages/botocore/data -mindepth 1 -maxdepth 1 -type d \
       ! -name s3 ! -name sts ! -name 'sso*' ! -name signin -exec rm -rf {} +

FROM scorer-packages AS trainer-packages
COPY locks/trainer.txt /locks/
RUN pip --python /opt/venv/bin/python install -q --no-cache-dir --compile \
       --require-hashes --only-binary :all: -r /locks/trainer.txt \
    && find /opt/venv -depth -type d \( -name tests -o -name include \) -exec rm -rf {} +

# Adds the packages for traces to the two images that can send them. You can switch traces on without
# building your own image.
FROM scorer-packages AS traced-packages
COPY locks/tracing.txt /locks/
RUN pip --python /opt/venv/bin/python install -q --no-cache-dir --compile \
       --require-hashes --only-binary :all: -r /locks/tracing.txt \
    && find /opt/venv -name '*.proto' -delete

FROM traced-packages AS dashboard-packages
COPY locks/dashboard.txt /locks/
RUN pip --python /opt/venv/bin/python install -q --no-cache-dir --compile \
       --require-hashes --only-binary :all: -r /locks/dashboard.txt

# Adds the application to each environment. The kernels are compiled once. Their cache is keyed by source,
# path and CPU, which are the same in all three images.
FROM traced-packages AS scorer-app
COPY --from=wheel /dist /dist
RUN pip --python /opt/venv/bin/python install -q --no-cache-dir --compile --no-deps /dist/*.whl \
    && NUMBA_CACHE_DIR=/opt/kernels stream-scorer warm

FROM trainer-packages AS trainer-app
COPY --from=wheel /dist /dist
RUN pip --python /opt/venv/bin/python install -q --no-cache-dir --compile --no-deps /dist/*.whl

FROM dashboard-packages AS dashboard-app
COPY --from=wheel /dist /dist
RUN pip --python /opt/venv/bin/python install -q --no-cache-dir --compile --no-deps /dist/*.whl

FROM base AS runtime
ARG VERSION
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="stream-scorer"
# The root file system may be read-only: processes write only to /tmp and /var/lib/stream-scorer. numba
# refuses a cache folder that it cannot write to. The entry point therefore copies the compiled kernels (a
# few hundred kilobytes) from the read-only folder of the image to /tmp.
ENV LOG_FORMAT=json \
    MODEL_CACHE_DIR=/var/lib/stream-scorer/models \
    HISTORY_CACHE_DIR=/var/lib/stream-scorer/history \
    NUMBA_CACHE_DIR=/tmp/kernels
# Nothing is installed after this point, so pip is removed.
RUN install -d -o app -g app /var/lib/stream-scorer /var/lib/stream-scorer/models \
       /var/lib/stream-scorer/history \
    && rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip \
       /usr/local/lib/python3*/site-packages/*
COPY --from=scorer-app /opt/kernels /opt/kernels
WORKDIR /var/lib/stream-scorer
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["sh", "-c", "mkdir -p \"$NUMBA_CACHE_DIR\" && cp -R /opt/kernels/. \"$NUMBA_CACHE_DIR\" && exec \"$@\"", "entrypoint"]

FROM runtime AS trainer
LABEL org.opencontainers.image.title="fraud-trainer" \
      org.opencontainers.image.description="Trains, gates, publishes and promotes fraud models"
COPY --from=trainer-app /opt/venv /opt/venv
# The same as Ctrl-C. The trainer has no signal handler of its own, and as process 1 it would ignore
# SIGTERM.
STOPSIGNAL SIGINT
HEALTHCHECK NONE
CMD ["fraud-trainer", "train"]

FROM runtime AS dashboard
LABEL org.opencontainers.image.title="fraud-dashboard" \
      org.opencontainers.image.description="Live feed of flagged transactions and the REST shim"
ENV DASHBOARD_HOST=0.0.0.0 \
    DASHBOARD_STATE_DIR=/var/lib/stream-scorer/dashboard
COPY --from=dashboard-app /opt/venv /opt/venv
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('DASHBOARD_PORT', '8000') + '/livez', timeout=4)"]
CMD ["fraud-dashboard"]

# The last stage, so that a plain `docker build .` builds the scorer.
FROM runtime AS scorer
LABEL org.opencontainers.image.title="stream-scorer" \
      org.opencontainers.image.description="Exactly-once fraud scores for a stream of card transactions"
COPY --from=scorer-app /opt/venv /opt/venv
EXPOSE 9100
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('METRICS_PORT', '9100') + '/livez', timeout=4)"]
CMD ["stream-scorer", "run"]
