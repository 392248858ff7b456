"""Writes what the cells ended with: to the spool at once, to Postgres in batches.

One flush at a time; while Postgres is away the spool grows, and past a bound the lanes wait.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

from sqlalchemy.orm import Session

from hikaku.failpoints import Point, reach
from hikaku.jobs import CellCalls, CellRecord, Outcome, failure
from hikaku.storage import budgets, recording, shards
from workers.database import DATABASE_ERRORS, Database
from workers.errors import NoRoom
from workers.orphans import PATIENCE, Orphan, owner_of, segments
from workers.spool import Spool, key_of

log = logging.getLogger(__name__)

BATCH = 512
"""Records of one transaction; more saves nothing, fewer costs Postgres more each."""

LONGEST_DELAY = 0.5
"""Seconds that a record may wait for company."""

HURRIED_DELAY = 0.02
"""Seconds that it waits where a shard's end does: others end at about the same time."""

LOOK_SECONDS = 0.5
"""Between two looks whether a full disk has room again."""

BACKLOG = 20_000
"""Records that may wait for Postgres before no new answer is asked for."""


class Recorder:
    """The one writer of results of a process."""

    def __init__(
        self,
        database: Database,
        spool: Spool,
        directory: Path,
        *,
        tell: Callable[[str | None], object] = lambda _: None,
        on_death: Callable[[UUID], Awaitable[None]] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """Make the writer of one process.

        Args:
            database: Where the records go.
            spool: Where they wait.
            directory: Of the spools of this machine.
            tell: Told what keeps this process from asking, and None when nothing does any more.
            on_death: Told of each worker that is dead, once all that it was answered is stored.
            patience: Seconds that another process may take to store what a dead one left.
        """
        self._database = database
        self._spool = spool
        self._directory = directory
        self._waiting: deque[CellRecord] = deque()
        self._abandoned: deque[CellCalls] = deque()
        self._put = 0
        self._stored = 0
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        """Set while somebody waits for what is not stored yet."""
        self._progress = asyncio.Condition()
        self._adopting = asyncio.Lock()
        self._tell = tell
        self._on_death = on_death
        self._patience = patience
        self._full: asyncio.Task[None] | None = None
        """Looks for room while the disk has none."""

    def called(self, calls: CellCalls) -> None:
        """Note a call, before it is made.

        Raises:
            NoRoom: It must not be made: the disk is full.
        """
        if self._full is None:
            try:
                self._spool.called(calls)
            except OSError as error:
                self._is_full(error)
            else:
                return
        raise NoRoom

    def call_ended(self, calls: CellCalls) -> None:
        """Note how a call ended that was noted; on a full disk its record alone says so."""
        try:
            self._spool.called(calls)
        except OSError as error:
            self._is_full(error)

    async def has_room(self, is_over: Callable[[], bool]) -> None:
        """Wait while the disk is full, unless there is no use in waiting."""
        while (looking := self._full) is not None and not is_over():
            await asyncio.wait({looking}, timeout=LOOK_SECONDS)

    async def settle(self, record: CellRecord) -> None:
        """Keep the record of a cell; waits only while too many wait for Postgres."""
        reach(Point.AFTER_CALL_BEFORE_SPOOL)
        try:
            self._spool.settled(record)
        except OSError as error:  # no reason to lose an answer that Postgres can take
            self._is_full(error)
        except MemoryError:
            log.warning("no memory for the spool", extra={"job": record.address.job_id})
        reach(Point.AFTER_SPOOL_BEFORE_COPY)
        self._waiting.append(record)
        await self._added()

    async def abandon(self, cell: CellCalls) -> None:
        """Keep the calls of a cell that this process will not finish."""
        self._abandoned.append(cell)
        await self._added()

    async def flushed(self) -> None:
        """Wait until Postgres has all that was put before."""
        target = self._put
        if self._stored < target:
            self._hurry.set()
        async with self._progress:
            await self._progress.wait_for(lambda: self._stored >= target)

    async def run(self) -> None:
        """Flush for ever."""
        while True:
            await self._wake.wait()
            await self._gather()
            self._wake.clear()
            self._hurry.clear()
            while self._waiting or self._abandoned:
                await self._flush()

    async def adopt(self) -> None:
        """Store what dead processes of this machine were answered and could not store."""
        async with self._adopting:
            dead: dict[UUID | None, bool] = {}
            for path in await asyncio.to_thread(segments, self._directory):
                orphan = await asyncio.to_thread(Orphan.adopt, path, patience=self._patience)
                if orphan is not None:
                    owner, is_whole = owner_of(path), await self._inherit(orphan)
                    dead[owner] = dead.get(owner, True) and is_whole
            if not dead:
                return
            left = {owner_of(path) for path in await asyncio.to_thread(segments, self._directory)}
            for owner, is_whole in dead.items():
                # While another process stores a part of its answers, they are not all known:
                # who stores the last part lets its shards go.
                if owner is not None and is_whole and owner not in left:
                    # All its calls are known now: its money and its shards are free again.
                    await self._database.insist(partial(_release_dead, owner))
                    if self._on_death is not None:
                        await self._on_death(owner)

    async def keep_adopting(self, every: timedelta) -> None:
        """Look for dead processes for ever, so that their work is not left until a lease ends."""
        while True:
            await asyncio.sleep(every.total_seconds())
            try:
                await self.adopt()
            except (OSError, *DATABASE_ERRORS) as error:
                log.warning("could not look for dead workers", extra={"error": repr(error)[:300]})

    def _is_full(self, error: OSError) -> None:
        if self._full is None:
            log.error(
                "no room for the spool: nothing is asked until there is",
                extra={"directory": str(self._directory), "error": repr(error)[:300]},
            )
            self._tell(f"no room for the spool in {self._directory}: {error.strerror or error}")
            self._full = asyncio.create_task(self._look_for_room(), name="looking for room")

    async def _look_for_room(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                self._spool.make_room()
            except (OSError, MemoryError):
                continue
            break
        log.warning("there is room for the spool again")
        self._tell(None)
        self._full = None

    async def _gather(self) -> None:
        """Wait for company, unless there is enough or somebody waits for the flush."""
        if len(self._waiting) < BATCH:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), LONGEST_DELAY)
                await asyncio.sleep(HURRIED_DELAY)

    async def _added(self) -> None:
        self._put += 1
        self._wake.set()
        if len(self._waiting) > BACKLOG:
            async with self._progress:
                await self._progress.wait_for(lambda: len(self._waiting) <= BACKLOG)

    async def _flush(self) -> None:
        records = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        abandoned = [self._abandoned.popleft() for _ in range(len(self._abandoned))]
        await self._store(records, abandoned)
        reach(Point.AFTER_COMMIT_BEFORE_FORGET)
        self._spool.stored(key_of(record.address) for record in records)
        self._spool.stored(key_of(calls.address) for calls in abandoned)
        async with self._progress:
            self._stored += len(records) + len(abandoned)
            self._progress.notify_all()

    async def _inherit(self, orphan: Orphan) -> bool:
        try:
            left = await asyncio.to_thread(orphan.read)
            await self._store(left.records, left.unsettled)
        except asyncio.CancelledError:
            orphan.release()
            raise
        except Exception:
            refused = orphan.refuse()
            log.critical("a spool cannot be stored", extra={"file": str(refused)}, exc_info=True)
            return False
        reach(Point.ADOPT_BEFORE_REMOVE)
        orphan.remove()
        counts = {"answers": len(left.records), "calls_in_flight": len(left.unsettled)}
        log.info("adopted the spool of a dead worker", extra=counts)
        return True

    async def _store(self, records: Sequence[CellRecord], calls: Sequence[CellCalls]) -> None:
        """Store a batch; what Postgres will never take does not hold up the rest."""
        try:
            await self._database.insist(partial(_store, records, calls))
        except Exception:
            log.critical("a batch is refused; storing one by one", exc_info=True)
            for record in records:
                await self._store_one(record)
            await self._database.insist(partial(_store, (), calls))

    async def _store_one(self, record: CellRecord) -> None:
        try:
            await self._database.insist(partial(_store, (record,), ()))
        except Exception as error:  # noqa: BLE001  # whatever it is, the cell must end somehow
            reason = f"the answer could not be recorded: {error!r}"
            await self._database.insist(
                partial(_store, (failure(record.address, Outcome.MALFORMED, reason),), ())
            )


def _release_dead(worker: UUID, session: Session) -> None:
    budgets.release_dead(session, worker)
    shards.release_dead(session, worker)


def _store(records: Sequence[CellRecord], calls: Sequence[CellCalls], session: Session) -> None:
    recording.record(session, records)
    recording.add_calls(session, calls)
