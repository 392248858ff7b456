"""This process's right to work: renewed at every heartbeat, and given up by its own clock.

A worker that was stopped for longer than its lease must not make a call when it wakes: another
worker has its shards by then. So before each call the local clock is asked, which also counts
while the machine sleeps; the database is not.
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
from hikaku.ids import new_uuid
from hikaku.jobs import JobState
from hikaku.storage import shards
from hikaku.storage.claims import Claim
from hikaku.storage.shards import Held
from workers.database import DATABASE_ERRORS, Database
from workers.errors import Cancelling, Draining, Revoked

log = logging.getLogger(__name__)

MARGIN_SECONDS = 1.0
"""No call starts this shortly before the lease ends."""

_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _now() -> float:
    return time.clock_gettime(_BOOT_CLOCK)


class Lease:
    """The identity of a worker process, and what it holds."""

    def __init__(self, database: Database, *, lease: timedelta, heartbeat: timedelta) -> None:
        self.worker: UUID = new_uuid()
        self._database = database
        self._lease = lease
        self._heartbeat = heartbeat
        self._good_until = float("-inf")
        self._claims: dict[int, Claim] = {}
        self._cancelled: set[int] = set()
        self._strange: set[tuple[int, int]] = set()
        """(shard, epoch) that Postgres calls ours and that we do not know of."""
        self._renewed = asyncio.Event()
        self._draining = False

    async def join(self) -> None:
        """Enter this process among the workers; waits for Postgres."""
        await self._database.insist(self._transaction)
        await self._renew()

    async def beat(self, each_time: Callable[[], object] = lambda: None) -> None:
        """Renew the lease for ever."""
        while True:
            await asyncio.sleep(self._heartbeat.total_seconds())
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
        self._renewed.set()

    @property
    def is_draining(self) -> bool:
        """Whether this process takes nothing new."""
        return self._draining

    def take(self, claim: Claim) -> None:
        """Note a shard that this process has claimed."""
        self._claims[claim.shard_id] = claim

    def drop(self, claim: Claim) -> None:
        """Note that a shard is finished or handed back."""
        if self._claims.get(claim.shard_id) == claim:
            del self._claims[claim.shard_id]
        self._cancelled.discard(claim.shard_id)

    def check(self, claim: Claim) -> None:
        """Refuse a call that must not start.

        Raises:
            Revoked, Draining, Cancelling: Why not.
        """
        if self._claims.get(claim.shard_id) != claim:
            raise Revoked
        if self._draining:
            raise Draining
        if claim.shard_id in self._cancelled:
            raise Cancelling
        if not self._is_good():
            raise Revoked

    async def permit(self, claim: Claim) -> None:
        """Wait while the lease is not known to be good (Postgres is away), then `check`.

        Raises:
            Revoked, Draining, Cancelling: The shard is not to be worked on any more.
        """
        while not self._is_good() and not self._draining and self._holds(claim):
            self._renewed.clear()
            await self._renewed.wait()
        self.check(claim)

    def _holds(self, claim: Claim) -> bool:
        return self._claims.get(claim.shard_id) == claim

    def _is_good(self) -> bool:
        return _now() < self._good_until - MARGIN_SECONDS

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
        self._compare(known, held)
        self._renewed.set()
        return True

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
            session, self.worker, host=socket.gethostname(), pid=os.getpid(), lease=self._lease
        )
        reach(Point.IN_HEARTBEAT)
        return shards.held(session, self.worker)

    def _compare(self, known: dict[int, Claim], held: list[Held]) -> None:
        """Believe the database about the shards that were claimed before it was asked."""
        ours = {one.shard_id: one for one in held}
        for shard_id, claim in known.items():
            there = ours.get(shard_id)
            if there is None or there.epoch != claim.epoch:
                log.info("shard no longer held", extra={"shard": shard_id, "epoch": claim.epoch})
                self.drop(claim)
            elif there.job_state in {JobState.CANCELLING, JobState.CANCELLED}:
                self._cancelled.add(shard_id)
