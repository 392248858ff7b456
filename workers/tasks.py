"""Celery's shells: open, call, decide what a failure means."""

import logging
from collections.abc import Callable

from celery import Celery

from hikaku.queue import GO_ON_WITH_BATCH, GO_ON_WITH_OFFLOAD, RUN_SHARD, TRACK_JOB
from workers.engine import Engine

log = logging.getLogger(__name__)


def register_shards(app: Celery, engine: Engine) -> None:
    """Let this worker run shards. A failure was logged and put right where it happened."""

    @app.task(name=RUN_SHARD)  # type: ignore[untyped-decorator]
    def run_shard(shard_id: int) -> None:
        engine.run_shard(shard_id)


def register_tracking(app: Celery, track: Callable[[str], None]) -> None:
    """Let this worker write jobs to MLflow. What fails is tried again by the sweep."""

    @app.task(name=TRACK_JOB)  # type: ignore[untyped-decorator]
    def track_job(job_id: str) -> None:
        track(job_id)


def register_batches(app: Celery, go_on: Callable[[str], None]) -> None:
    """Let this worker go on with batches. What fails is tried again by the sweep."""

    @app.task(name=GO_ON_WITH_BATCH)  # type: ignore[untyped-decorator]
    def go_on_with_batch(batch_id: str) -> None:
        go_on(batch_id)


def register_offloads(app: Celery, go_on: Callable[[str], None]) -> None:
    """Let this worker go on with offloads. What fails is tried again by the sweep."""

    @app.task(name=GO_ON_WITH_OFFLOAD)  # type: ignore[untyped-decorator]
    def go_on_with_offload(offload_id: str) -> None:
        go_on(offload_id)
