"""This process's right to work: renewed at every heartbeat, and given up by its own clock.

A worker that was stopped for longer than its lease must not make a call when it wakes: another
worker has its shards by then. So before each call the local clock is asked, which also counts
while the machine sleeps; the database is not. What was last read of the job's state counts for a
shorter time still: a call of a paused or cancelled job must not start.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from hikaku.failpoints import Point, reach
from hikaku.jobs import JobState
from hikaku.storage import shards
from hikaku.storage.claims import Claim
from hikaku.storage.shards import Held
from workers.database import DATABASE_ERRORS, Database
from workers.errors import Cancelling, Draining, Paused, Revoked, StopShard, Unsure

log = logging.getLogger(__name__)

MARGIN_SECONDS = 1.0
"""No call starts this shortly before the lease ends."""

LOOK_SECONDS = 0.5
"""Between two looks at the states of the jobs that are worked on here."""

SURE_SECONDS = 1.5
"""No call starts when the state of its job was asked for longer ago than this.

So none starts later than this after a pause or a cancellation was answered, however slow the
database is: whatever was asked before the commit is too old by then.
"""

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _now() -> float:
    return time.clock_gettime(_BOOT_CLOCK)


class Lease:
    """The identity of a worker process, and what it holds."""

    def __init__(
        self,
        worker: UUID,
        database: Database,
        *,
        lease: timedelta,
        heartbeat: timedelta,
        on_stop: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        """Make one that is not joined yet.

        Args:
            worker: Its name.
            database: Its own, so that nothing else holds up a heartbeat.
            lease: How long it is good after a renewal was asked for.
            heartbeat: Between two renewals.
            on_stop: Told of each job that is to start no new call here; of None for all of them.
        """
        self.worker = worker
        self._database = database
        self._lease = lease
        self._heartbeat = heartbeat
        self._good_until = float("-inf")
        self._claims: dict[int, Claim] = {}
        self._sure_at: dict[int, float] = {}
        """When the state was asked for that a shard's job is known to have had."""
        self._stops: dict[int, type[StopShard]] = {}
        self._on_stop = on_stop
        self._strange: set[tuple[int, int]] = set()
        """(shard, epoch) that Postgres calls ours and that we do not know of."""
        self._renewed = asyncio.Event()
        self._draining = False
        self._trouble: str | None = None

    async def join(self) -> None:
        """Enter this process among the workers; waits for Postgres."""
        await self._database.insist(self._transaction)
        await self._renew()

    async def beat(self, each_time: Callable[[], object] = lambda: None) -> None:
        """Renew the lease for ever."""
        heartbeat = self._heartbeat.total_seconds()
        renewed_at = _now()
        while True:
            await asyncio.sleep(min(heartbeat, LOOK_SECONDS))
            if _now() - renewed_at < heartbeat - LOOK_SECONDS / 2:
                await self._look()
                continue
            renewed_at = _now()
            await self._renew()
            each_time()

    async def leave(self) -> None:
        """Give the lease up, so that what is left is reaped at once."""
        try:
            await self._database.run(lambda session: shards.leave(session, self.worker))
        except DATABASE_ERRORS as error:
            log.warning("could not leave; the lease will end", extra={"error": repr(error)[:300]})

    def drain(self) -> None:
        """Start no new call from now on."""
        reach(Point.IN_DRAIN)
        self._draining = True
        self._on_stop(None)
        self._renewed.set()

    def tell(self, trouble: str | None) -> None:
        """Say with the next renewal what keeps this process from asking; None: nothing does."""
        self._trouble = trouble

    @property
    def is_draining(self) -> bool:
        """Whether this process takes nothing new."""
        return self._draining

    def now(self) -> float:
        """Read the clock that the lease runs by."""
        return _now()

    def take(self, claim: Claim, *, asked_at: float) -> None:
        """Note a shard that this process has claimed.

        Args:
            claim: The shard; its job was not paused then.
            asked_at: By `now`, before the claim was sent.
        """
        self._claims[claim.shard_id] = claim
        self._sure_at[claim.shard_id] = asked_at

    def drop(self, claim: Claim) -> None:
        """Note that a shard is finished or handed back."""
        if self._claims.get(claim.shard_id) == claim:
            del self._claims[claim.shard_id]
            del self._sure_at[claim.shard_id]
            self._stops.pop(claim.shard_id, None)

    def check(self, claim: Claim) -> None:
        """Refuse a call that must not start.

        Raises:
            StopShard: Why not.
        """
        if not self._holds(claim):
            raise Revoked
        if self._draining:
            raise Draining
        if (stop := self._stops.get(claim.shard_id)) is not None:
            raise stop
        now = _now()
        if not self._is_good(now):
            raise Revoked
        if not self._is_sure(claim, now):
            raise Unsure

    async def permit(self, claim: Claim) -> None:
        """Wait while lease or job are not known to be good (Postgres is away), then `check`.

        Raises:
            StopShard: The shard is not to be worked on any more.
        """
        while not self._is_known(claim) and not self._draining and self._holds(claim):
            self._renewed.clear()
            await self._renewed.wait()
        self.check(claim)

    def _holds(self, claim: Claim) -> bool:
        held = self._claims.get(claim.shard_id)
        return held is claim or held == claim

    def _is_known(self, claim: Claim) -> bool:
        now = _now()
        return self._is_good(now) and self._is_sure(claim, now)

    def _is_good(self, now: float) -> bool:
        return now < self._good_until - MARGIN_SECONDS

    def _is_sure(self, claim: Claim, now: float) -> bool:
        return now < self._sure_at.get(claim.shard_id, float("-inf")) + SURE_SECONDS

    async def _renew(self) -> bool:
        asked_at = _now()
        known = dict(self._claims)
        strange = self._strange
        try:
            held = await self._database.run(self._transaction)
            self._strange = self._unknown(held)
            await self._return(strange & self._strange)
        except DATABASE_ERRORS as error:
            log.warning("lease not renewed", extra={"error": repr(error)[:300]})
            return False
        self._good_until = asked_at + self._lease.total_seconds()
        self._compare(known, held, asked_at)
        self._renewed.set()
        return True

    async def _look(self) -> None:
        """Ask for the states of the jobs, without renewing the lease."""
        asked_at, known = _now(), dict(self._claims)
        if not known:
            return
        try:
            held = await self._database.run(lambda session: shards.held(session, self.worker))
        except DATABASE_ERRORS as error:
            log.warning("states not read", extra={"error": repr(error)[:300]})
            return
        self._compare(known, held, asked_at)
        self._renewed.set()

    def _unknown(self, held: list[Held]) -> set[tuple[int, int]]:
        return {
            (one.shard_id, one.epoch)
            for one in held
            if (claim := self._claims.get(one.shard_id)) is None or claim.epoch != one.epoch
        }

    async def _return(self, strange: set[tuple[int, int]]) -> None:
        """Hand back what was claimed and never learnt of: the answer of the claim was lost.

        Seen twice: a claim that is being made at this moment is strange for one heartbeat.
        """
        for shard_id, epoch in strange:
            log.warning("handed back an unknown shard", extra={"shard": shard_id, "epoch": epoch})
            await self._database.run(partial(self._disown, shard_id, epoch))

    def _disown(self, shard_id: int, epoch: int, session: Session) -> None:
        shards.disown(session, shard_id, epoch, self.worker)

    def _transaction(self, session: Session) -> list[Held]:
        shards.join(
            session, self.worker, host=socket.gethostname(), pid=os.getpid(), lease=self._lease,
            trouble=self._trouble,
        )  # fmt: skip
        reach(Point.IN_HEARTBEAT)
        return shards.held(session, self.worker)

    def _compare(self, known: dict[int, Claim], held: list[Held], asked_at: float) -> None:
        """Believe the database about the shards that were claimed before it was asked."""
        ours = {one.shard_id: one for one in held}
        for shard_id, claim in known.items():
            there = ours.get(shard_id)
            if there is None or there.epoch != claim.epoch:
                log.info("shard no longer held", extra={"shard": shard_id, "epoch": claim.epoch})
                self.drop(claim)
            elif self._holds(claim):
                self._sure_at[shard_id] = asked_at
                self._heed(claim, there.job_state)

    def _heed(self, claim: Claim, state: JobState) -> None:
        match state:
            case JobState.CANCELLING | JobState.CANCELLED:
                self._stops[claim.shard_id] = Cancelling
            case JobState.PAUSED:
                self._stops[claim.shard_id] = Paused
            case _:
                self._stops.pop(claim.shard_id, None)
                return
        self._on_stop(claim.job_id)
