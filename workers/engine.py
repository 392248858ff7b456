"""One event loop in a thread of its own: all shards of a process share its connections.

Celery's threads hand a shard over and wait. So eight shards share one pool of connections, one
lease and one writer, and a straggling call idles nobody else.
"""

import asyncio
import errno
import gc
import logging
import os
import signal
import threading
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import uvloop

from gateway.client import Gateway
from gateway.shared import Hub
from gateway.surfaces.relay import Relay
from gateway.watching import Watcher
from hikaku.settings import Settings
from hikaku.storage.connection import Sessions
from workers import shard
from workers.database import Database
from workers.lease import Lease
from workers.recorder import LOOK_SECONDS, Recorder
from workers.relief import Relief
from workers.shard import Room
from workers.spool import Spool
from workers.turns import Turns

log = logging.getLogger(__name__)

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_YOUNG = 20_000
"""Objects made between two collections: those of a cell are gone by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """What lives as long as the loop."""

    room: Room
    relief: Relief
    spool: Spool
    gateway: Gateway
    keepers: tuple[asyncio.Task[None], ...]
    """Heartbeat, writer and relief: a process without them must not go on."""


class Engine:
    """Runs shards for the threads of a Celery worker."""

    def __init__(
        self,
        settings: Settings,
        sessions: Sessions,
        gateway: Gateway,
        watcher: Watcher | None = None,
        hub: Hub | None = None,
        *,
        worker: UUID,
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._database = Database(sessions, threads=4)
        # Of its own: four slow transactions in the other's threads must not cost the lease.
        self._heart = Database(sessions, threads=1)
        self._gateway = gateway
        self._watcher = watcher
        """Follows the gateway's file; entered and left beside it."""
        self._hub = hub
        """The line to the limits of all processes; entered and left by the gateway."""
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine", daemon=True)
        self._opened = threading.Event()
        self._open: _Open | None = None
        self._is_leaving = False

    def start(self) -> None:
        """Start the loop; shards wait until this process has joined the workers."""
        self._thread.start()
        self._loop.call_soon_threadsafe(self._begin)

    def run_shard(self, shard_id: int) -> None:
        """Run one shard and wait for its end; called from Celery's threads."""
        self._opened.wait()
        if self._open is None:
            return
        running = self._open.relief.in_slot(shard.run(self._open.room, shard_id))
        with suppress(CancelledError):
            asyncio.run_coroutine_threadsafe(running, self._loop).result()

    def drain(self) -> None:
        """Let calls in flight finish, start no new one, and hand the shards back."""
        self._is_leaving = True  # first: whoever is joining at this moment looks there last
        if self._open is None:
            self._opened.set()  # whoever waits to begin goes home
        else:
            self._loop.call_soon_threadsafe(self._open.room.lease.drain)

    def stop(self) -> None:
        """Leave the workers and stop the loop; every shard has been handed back."""
        asyncio.run_coroutine_threadsafe(self._leave(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._database.close()
        self._heart.close()

    def _begin(self) -> None:
        joining = self._loop.create_task(self._join(), name="joining the workers")
        joining.add_done_callback(self._joined)

    def _joined(self, joining: asyncio.Task[None]) -> None:
        if joining.exception() is not None:
            self._lost(joining)

    async def _join(self) -> None:
        settings = self._settings
        turns = Turns(settings.cells_in_flight, at_door=self._gateway.waiting_room)
        lease = Lease(
            self._worker,
            self._heart,
            lease=timedelta(seconds=settings.lease_seconds),
            heartbeat=timedelta(seconds=settings.heartbeat_seconds),
            on_stop=turns.dismiss,
        )
        spool = await _spool(settings, str(lease.worker))
        if self._hub is not None:
            self._hub.me = str(lease.worker)  # So that who adopts the spool can free its places.
        recorder = Recorder(
            self._database,
            spool,
            settings.spool_dir,
            tell=lease.tell,
            on_death=self._bury,
            patience=settings.lease_seconds,
        )
        await lease.join()
        await self._gateway.__aenter__()
        if self._watcher is not None:
            await self._watcher.__aenter__()
        room = Room(
            database=self._database,
            gateway=self._gateway,
            relay=Relay(self._gateway),
            lease=lease,
            recorder=recorder,
            turns=turns,
        )
        relief = Relief(room, slots=settings.worker_slots)
        keepers = (
            asyncio.create_task(lease.beat(), name="heartbeat"),
            asyncio.create_task(recorder.run(), name="recorder"),
            asyncio.create_task(relief.keep(), name="relief"),
            asyncio.create_task(
                recorder.keep_adopting(timedelta(seconds=settings.heartbeat_seconds)),
                name="adoption",
            ),
        )
        for keeper in keepers:
            keeper.add_done_callback(self._lost)
        self._open = _Open(
            room=room, relief=relief, spool=spool, gateway=self._gateway, keepers=keepers
        )
        if self._is_leaving:
            lease.drain()
        gc.collect()
        gc.freeze()  # what there is by now stays: a collection need not look through it again
        gc.set_threshold(_YOUNG, 20, 50)
        self._opened.set()
        log.info("joined the workers", extra={"worker": str(lease.worker)})

    async def _bury(self, worker: UUID) -> None:
        """Free what a dead worker held of the limits; its sockets went with it."""
        if self._hub is not None:
            await self._hub.bury(str(worker))

    async def _leave(self) -> None:
        opened = self._open
        if opened is None:
            return
        await opened.relief.ended()
        await opened.room.recorder.flushed()
        for keeper in opened.keepers:
            keeper.remove_done_callback(self._lost)
            keeper.cancel()
        await opened.room.lease.leave()
        if self._watcher is not None:
            await self._watcher.__aexit__(None, None, None)
        await self._gateway.__aexit__(None, None, None)
        opened.spool.close()

    def _lost(self, keeper: asyncio.Task[None]) -> None:
        """End the process: what it was answered is in the spool, and its successor adopts it."""
        error = None if keeper.cancelled() else keeper.exception()
        log.critical("%s stopped", keeper.get_name(), exc_info=error)
        os.kill(os.getpid(), signal.SIGKILL)


async def _spool(settings: Settings, owner: str) -> Spool:
    """Open the spool; waits while the disk is full."""
    while True:
        try:
            return Spool(settings.spool_dir, owner, segment=settings.spool_segment_bytes)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            log.error(  # noqa: TRY400 - where it happened says nothing
                "no room for the spool: not joining until there is",
                extra={"directory": str(settings.spool_dir), "error": repr(error)[:300]},
            )
        await asyncio.sleep(LOOK_SECONDS)
