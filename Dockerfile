# syntax=docker/dockerfile:1
# Three images from one file: `--target api`, `--target worker`, `--target stack` (MLflow and set-up).
# Locked requirements, installed by hash; nothing is compiled; the result runs as user 10001.
ARG PYTHON=3.13-slim-bookworm

FROM python:${PYTHON} AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY api api
COPY gateway gateway
COPY hikaku hikaku
COPY migrations migrations
COPY stack stack
COPY workers workers
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON} AS base
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 \
    HIKAKU_STATE=/state HIKAKU_SPOOL_DIR=/spool
RUN groupadd --gid 10001 hikaku \
    && useradd --uid 10001 --gid hikaku --no-create-home --home-dir /tmp --shell /usr/sbin/nologin hikaku \
    && install -d -o hikaku -g hikaku -m 0755 /state /spool /artifacts
WORKDIR /app

FROM base AS api
COPY requirements/api.txt /tmp/requirements.txt
RUN pip install --require-hashes --no-deps -r /tmp/requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps --no-index --find-links /wheels hikaku && rm -r /wheels
USER 10001:10001
EXPOSE 8420
CMD ["python", "-m", "stack.container", "run", "python", "-m", "api.main"]

FROM base AS worker
COPY requirements/worker.txt /tmp/requirements.txt
RUN pip install --require-hashes --no-deps -r /tmp/requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps --no-index --find-links /wheels hikaku && rm -r /wheels
USER 10001:10001
CMD ["python", "-m", "stack.container", "run", "python", "-m", "workers.main", "batch"]

FROM base AS stack
COPY requirements/stack.txt /tmp/requirements.txt
RUN pip install --require-hashes --no-deps -r /tmp/requirements.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-deps --no-index --find-links /wheels hikaku && rm -r /wheels
USER 10001:10001
CMD ["python", "-m", "stack.container", "mlflow"]
