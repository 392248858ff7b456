"""Workers in threads: each with its own event loop, connections, lease and spool, and one model."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from hikaku.ids import new_uuid
from hikaku.storage import claims
from hikaku.storage.connection import open_engine, open_sessions
from hikaku.storage.shards import session_name
from tests.support.database import sqlalchemy_url
from workers import shard
from workers.database import Database
from workers.lease import Lease
from workers.recorder import Recorder
from workers.shard import Asker, Room
from workers.spool import Spool
from workers.turns import Turns

SECONDS = 90.0


async def _work(room: Room, is_over: Callable[[], bool]) -> None:
    while not is_over():
        claim = await shard._claim(room, lambda s: claims.claim_next(s, room.lease.worker))
        if claim is None:
            await asyncio.sleep(0.05)
        else:
            await shard.run_claimed(room, claim)


async def _member(
    url: str, folder: Path, asker: Asker, is_over: Callable[[], bool], all_there: threading.Barrier
) -> None:
    worker = new_uuid()
    engine = open_engine(url, pool_size=3, name=session_name(worker))
    database = Database(open_sessions(engine), threads=2)
    turns = Turns(64)
    lease = Lease(
        worker,
        database,
        lease=timedelta(seconds=30),
        heartbeat=timedelta(seconds=1),
        on_stop=turns.dismiss,
    )
    spool = Spool(folder, str(lease.worker))
    recorder = Recorder(database, spool, folder)
    await lease.join()
    await asyncio.to_thread(all_there.wait, SECONDS)
    room = Room(
        database=database,
        gateway=asker,
        relay=cast("Any", None),
        lease=lease,
        recorder=recorder,
        turns=turns,
    )
    keepers = [asyncio.create_task(lease.beat()), asyncio.create_task(recorder.run())]
    try:
        await asyncio.wait_for(_work(room, is_over), SECONDS)
    finally:
        await recorder.flushed()
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        spool.close()
        database.close()
        engine.dispose()


@contextmanager
def crew(database_url: str, folder: Path, asker: Asker, is_over: Callable[[], bool], n: int):
    """Let `n` workers run whatever there is until `is_over`; what one raises is raised here."""
    url = sqlalchemy_url(database_url)
    failures: list[BaseException] = []
    all_there = threading.Barrier(n)

    def run() -> None:
        try:
            asyncio.run(_member(url, folder, asker, is_over, all_there))
        except BaseException as error:  # noqa: BLE001  # told to the test below
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(n)]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
