"""Serves the jobs that nobody serves while all slots are taken: a small job waits for no large one.

A slot bounds what a job may take, not what the process can do: calls in flight are bounded by
`workers.turns`, and a shard more is some rows in memory.
"""

import asyncio
import logging
from collections.abc import Coroutine

from hikaku.storage.claims import Claim
from workers.database import DATABASE_ERRORS
from workers.shard import Room, claim_idle, run_claimed

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks for jobs that nobody serves."""

MOST = 64
"""Shards beyond the slots."""


class Relief:
    """Counts the slots taken, and runs a shard of each idle job beside them."""

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
        """Look for idle jobs for ever: those of which all workers hold less than a full shard."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            while self._taken >= self._slots and len(self._running) < MOST:
                claim = await self._idle()
                if claim is None:
                    break
                running = asyncio.create_task(self._run(claim), name=f"shard {claim.shard_id}")
                self._running.add(running)
                running.add_done_callback(self._running.discard)

    async def ended(self) -> None:
        """Wait for the shards beyond the slots; a lease that drains lets them end."""
        if self._running:
            await asyncio.wait(self._running)

    async def _idle(self) -> Claim | None:
        try:
            return await claim_idle(self._room)
        except DATABASE_ERRORS as error:
            log.warning("idle jobs not looked for", extra={"error": repr(error)[:300]})
            return None

    async def _run(self, claim: Claim) -> None:
        try:
            await run_claimed(self._room, claim)
        except Exception:  # noqa: BLE001  # logged and put right where it happened
            log.debug("a shard beyond the slots was given up", extra={"shard": claim.shard_id})
