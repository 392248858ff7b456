"""Looks for work that the broker does not bring: for free slots, and for jobs that nobody serves.

After all its slots were taken, Celery asks the broker again only when a timer of its own rings,
up to some seconds later: slots that are free look by themselves. While all are taken, a small job
waits for no large one: a slot bounds what a job may take, not what the process can do. Calls in
flight are bounded by `workers.turns`, and a shard more is some rows in memory.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count

from hikaku.storage.claims import Claim
from workers.database import DATABASE_ERRORS
from workers.shard import Room, claim_idle, claim_next, run_claimed, run_on

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
"""Between two looks for work."""

IDLE_EVERY = 4
"""Looks, of which one is for jobs that nobody serves."""

MOST = 64
"""Shards beyond the slots."""

Look = Callable[[Room], Awaitable[Claim | None]]
Work = Callable[[Room, Claim], Awaitable[None]]


class Relief:
    """Counts the slots taken, fills those that are free, and serves idle jobs beside them."""

    def __init__(self, room: Room, *, slots: int) -> None:
        self._room = room
        self._slots = slots
        self._taken = 0
        self._running: set[asyncio.Task[None]] = set()

    async def in_slot(self, work: Coroutine[object, object, None]) -> None:
        """Do the work of a slot."""
        self._taken += 1
        try:
            await work
        finally:
            self._taken -= 1

    async def keep(self) -> None:
        """Look for work for ever."""
        for look in count(1):
            await asyncio.sleep(LOOK_SECONDS)
            while self._busy < self._slots:
                if not self._begun(await self._found(claim_next), run_on):
                    break
            if look % IDLE_EVERY:
                continue
            while self._busy >= self._slots and len(self._running) < MOST:
                if not self._begun(await self._found(claim_idle), run_claimed):
                    break

    @property
    def _busy(self) -> int:
        return self._taken + len(self._running)

    async def ended(self) -> None:
        """Wait for the shards beyond the slots; a lease that drains lets them end."""
        if self._running:
            await asyncio.wait(self._running)

    def _begun(self, claim: Claim | None, work: Work) -> bool:
        if claim is None:
            return False
        running = asyncio.create_task(self._run(claim, work), name=f"shard {claim.shard_id}")
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return True

    async def _found(self, look: Look) -> Claim | None:
        try:
            return await look(self._room)
        except DATABASE_ERRORS as error:
            log.warning("work not looked for", extra={"error": repr(error)[:300]})
            return None

    async def _run(self, claim: Claim, work: Work) -> None:
        try:
            await work(self._room, claim)
        except Exception:  # noqa: BLE001  # logged and put right where it happened
            log.debug("a shard that was looked for was given up", extra={"shard": claim.shard_id})
