"""Puts right what was lost: shards of dead workers, hints of a lost broker, jobs left open."""

import logging
import time
from datetime import timedelta

from hikaku.failpoints import Point, reach
from hikaku.queue import Queue
from hikaku.storage import (
    batches,
    buckets,
    completions,
    control,
    files,
    idempotency,
    jobs,
    offloads,
    shards,
    summaries,
    tracking,
)
from hikaku.storage.connection import Sessions

log = logging.getLogger(__name__)

WINDOW = 64
"""Hints on the broker at once; the rest wait in Postgres, in order of priority."""

SUMMED_UP = 64
"""Shards that are summed up again in one round; about 1 ms each."""

SELDOM_SECONDS = 30.0
"""Between two rounds of what nobody waits for: forgetting what is over, and how full the open
bucket is."""

LOST_AFTER = timedelta(seconds=2)
"""A published shard that nobody took while the broker is empty: its hint is lost."""


class Sweep:
    """One round of tidying; any number of processes may run it at once."""

    def __init__(
        self,
        sessions: Sessions,
        queue: Queue,
        *,
        lease: timedelta,
        bucket_rows: int = 25_000_000,
    ) -> None:
        self._sessions = sessions
        self._queue = queue
        self._lease = lease
        self._bucket_rows = bucket_rows
        self._seldom_at = 0.0
        self._last = time.monotonic()
        self._reap_from = self._last
        """Not before: after a gap of ours, the workers had one too, and renew first."""

    def run(self) -> None:
        """Tidy once."""
        now = time.monotonic()
        if now - self._last > self._lease.total_seconds() / 2:
            self._reap_from = now + self._lease.total_seconds()
        if now >= self._reap_from:
            self._reap()
        self._close()
        self._publish()
        self._hand_on()
        if now >= self._seldom_at:
            self._forget()
            self._roll()
            self._seldom_at = now + SELDOM_SECONDS
        self._last = time.monotonic()

    def _reap(self) -> None:
        with self._sessions.begin() as session:
            frozen = shards.cut_off(session)
        if frozen:
            log.warning(
                "ended transactions of workers whose lease is over", extra={"workers": frozen}
            )
        with self._sessions.begin() as session:
            lost = shards.reap(session, grace=self._lease)
            if lost:
                reach(Point.IN_REAP)
        if lost:
            log.warning("took shards back from dead workers", extra={"shards": lost})

    def _close(self) -> None:
        with self._sessions.begin() as session:
            control.cancel_unclaimed(session)
            left_open = jobs.ended_but_open(session)
        for job_id in left_open:
            with self._sessions.begin() as session:
                jobs.close_if_ended(session, job_id)

    def _forget(self) -> None:
        with self._sessions.begin() as session:
            shards.forget_workers(session)
            idempotency.forget(session)
            completions.forget_purchases(session)
            files.forget_expired(session)

    def _roll(self) -> None:
        with self._sessions.begin() as session:
            opened = buckets.roll(session, most_rows=self._bucket_rows)
        if opened is not None:
            log.info("opened a bucket", extra={"bucket": opened})

    def _publish(self) -> None:
        with self._sessions.begin() as session:
            again = self._are_hints_lost(shards.waiting(session, older_than=LOST_AFTER))
            hints = shards.to_publish(session, window=WINDOW, again=again)
        self._queue.put_shards(hints)

    def _are_hints_lost(self, waiting: int) -> bool:
        if not waiting:
            return False
        try:
            depth = self._queue.depth()
        except OSError:
            return False
        if depth == 0:
            log.info("hints published again", extra={"waiting": waiting})
        return depth == 0

    def _hand_on(self) -> None:
        """Sum up what has ended, and put on the broker what else there is to do."""
        with self._sessions.begin() as session:
            summaries.refresh(session, limit=SUMMED_UP)
            to_track = tracking.due(session)
            to_go_on, elsewhere = batches.due(session), offloads.due(session)
        for job_id in to_track:
            self._queue.put_tracking(job_id)
        for batch_id in to_go_on:
            self._queue.put_batch(batch_id)
        for offload_id in elsewhere:
            self._queue.put_offload(offload_id)
