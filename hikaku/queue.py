"""Where both programs meet: the Celery application, its queues, and what may be put on them.

A message is a hint that carries an id. It may be lost, doubled or late: Postgres decides whether
there is anything to do. Nothing here keeps state, and nothing waits for a result.
"""

import logging
from collections.abc import Iterable

from celery import Celery
from kombu import Queue as Lane
from kombu.exceptions import KombuError

from hikaku.failpoints import Point, reach
from hikaku.jobs import Hint

log = logging.getLogger(__name__)

INTERACTIVE, BATCH, MAINTENANCE = "interactive", "batch", "maintenance"
"""Lanes: a worker that is free looks at the first before the second."""

LANES = tuple(Lane(name) for name in (INTERACTIVE, BATCH, MAINTENANCE))

RUN_SHARD = "hikaku.run_shard"
TRACK_JOB = "hikaku.track_job"
GO_ON_WITH_BATCH = "hikaku.go_on_with_batch"
GO_ON_WITH_OFFLOAD = "hikaku.go_on_with_offload"

LAST_INTERACTIVE_PRIORITY = 2
"""Jobs of priority 0 to 2 use the interactive lane."""


_TRANSPORT = {
    # A half-open connection is noticed within about 20 s.
    "socket_timeout": 10,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
    "queue_order_strategy": "priority",
    "global_keyprefix": "hikaku:",
}

_PUBLISHING = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
"""Fail fast when the broker is away: the sweep publishes again."""


def celery_app(redis_url: str) -> Celery:
    """Build the Celery application; the reason of each setting stands beside it."""
    app = Celery("hikaku", broker=redis_url)
    app.conf.update(
        # State lives in our tables: no result backend, no extra write per task.
        result_backend=None,
        task_ignore_result=True,
        task_track_started=False,
        # The message is a hint and the lease in Postgres is the claim: acknowledge early, so that
        # no visibility timeout can run a shard twice.
        task_acks_late=False,
        # Fetch when a slot is free: fair lanes, and little to lose in a worker's memory.
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        # Messages are data of strangers to us: JSON and ids only, and no remote control.
        task_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        task_create_missing_queues=False,
        task_default_queue=BATCH,
        task_queues=LANES,
        # The broker may be away at the start and at any time later.
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=5,
        # A broker that refuses writes, being full, is one that is away: never an end of ours.
        broker_channel_error_retry=True,
        broker_transport_options=_TRANSPORT,
        task_publish_retry_policy=_PUBLISHING,
        # Losing the broker must not kill calls in flight: they are paid for.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,
        worker_hijack_root_logger=False,
        # The thread pool does not enforce limits; each call has its own.
        task_time_limit=None,
        worker_soft_shutdown_timeout=0,
    )
    return app


class Queue:
    """Puts hints on the broker. A broker that is away costs time, never work."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def put_shards(self, hints: Iterable[Hint]) -> None:
        """Say "run these shards"; call it after the commit that stored them."""
        hints = list(hints)
        if not hints:
            return
        reach(Point.BEFORE_PUBLISH)
        try:
            with self._app.producer_or_acquire() as producer, producer.batch(500):
                for hint in hints:
                    self._send(RUN_SHARD, hint.shard_id, _lane(hint.priority), producer)
        except (KombuError, OSError) as error:
            log.warning("hints not published; the sweep will", extra={"error": repr(error)})

    def put_tracking(self, job_id: str) -> None:
        """Say "track this job in MLflow"."""
        self._put(TRACK_JOB, job_id)

    def put_batch(self, batch_id: str) -> None:
        """Say "go on with this batch"."""
        self._put(GO_ON_WITH_BATCH, batch_id)

    def put_offload(self, offload_id: str) -> None:
        """Say "go on with this offload"."""
        self._put(GO_ON_WITH_OFFLOAD, offload_id)

    def _put(self, task: str, argument: str) -> None:
        try:
            with self._app.producer_or_acquire() as producer:
                self._send(task, argument, MAINTENANCE, producer)
        except (KombuError, OSError) as error:
            log.warning("hint not published; the sweep will", extra={"error": repr(error)})

    def depth(self) -> int:
        """Count the shard hints that wait on the broker.

        Raises:
            OSError: The broker is away.
        """
        with self._app.connection_for_read(heartbeat=0) as connection:
            try:
                channel = connection.default_channel
                return sum(
                    lane(channel).queue_declare().message_count
                    for lane in LANES
                    if lane.name != MAINTENANCE
                )
            except (KombuError, *connection.connection_errors, *connection.channel_errors) as error:
                raise ConnectionError(str(error)) from error

    def _send(self, task: str, argument: object, lane: str, producer: object) -> None:
        self._app.send_task(task, args=(argument,), queue=lane, producer=producer, retry=False)


def _lane(priority: int) -> str:
    return INTERACTIVE if priority <= LAST_INTERACTIVE_PRIORITY else BATCH
