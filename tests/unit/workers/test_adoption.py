"""A dead worker's shards are let go by whoever stores the last part of its answers."""

import fcntl
import os
from datetime import UTC, datetime

import pytest

from hikaku.ids import new_uuid
from hikaku.jobs import CellAddress, CellRecord, Outcome
from workers import recorder
from workers.orphans import segments
from workers.recorder import Recorder
from workers.spool import Spool, key_of


class Remembering:
    """In the place of a database: remembers what was to be done."""

    def __init__(self):
        self.stored: list[int] = []
        self.released: list[object] = []
        self.buried: list[object] = []

    async def bury(self, owner):
        assert owner in self.released  # Its answers are stored first, and its shards are free.
        self.buried.append(owner)

    async def insist(self, transaction):
        if transaction.func is recorder._release_dead:
            self.released.append(transaction.args[0])
        else:
            records, _ = transaction.args
            self.stored += [one.address.row for one in records]


def record(row):
    address = CellAddress(
        job_id="job_1", bucket=0, endpoint=0, row=row, repeat=0, round=0, shard_id=1, epoch=1
    )
    now = datetime.now(UTC)
    return CellRecord(address=address, outcome=Outcome.OK, recorded_at=now, completion="赤")


@pytest.fixture
def dead(tmp_path):
    """The owner of two segments with a record each, who is gone."""
    owner = new_uuid()
    spool = Spool(tmp_path, str(owner), segment=1)
    for row in (0, 1):
        spool.settled(record(row))
    for segment in {*spool._segments.values(), spool._active}:
        segment.let_go()
    assert len(segments(tmp_path)) >= 2
    return owner


@pytest.fixture
def heir(tmp_path):
    own = Spool(tmp_path, str(new_uuid()))
    database = Remembering()
    recorder = Recorder(database, own, tmp_path, on_death=database.bury)  # type: ignore[arg-type]
    yield recorder, database
    own.close()


async def test_shards_are_let_go_when_all_is_stored(dead, heir):
    adopting, database = heir
    await adopting.adopt()
    assert sorted(database.stored) == [0, 1]
    assert database.released == [dead]
    assert database.buried == [dead]


async def test_nothing_of_the_living_is_let_go(heir, tmp_path):
    adopting, database = heir
    living = Spool(tmp_path, str(new_uuid()))
    living.settled(record(7))
    await adopting.adopt()
    assert database.stored == []
    assert database.released == database.buried == []
    living.stored(iter([key_of(record(7).address)]))
    living.close()


async def test_shards_are_kept_while_another_process_stores_a_part(dead, heir, tmp_path):
    adopting, database = heir
    first = next(path for path in segments(tmp_path) if str(dead) in path.name)
    other = os.open(first, os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)  # and has not yet renamed it
    await adopting.adopt()
    assert len(database.stored) == 1
    assert database.released == database.buried == []
    os.close(other)
    await adopting.adopt()
    assert sorted(database.stored) == [0, 1]
    assert database.released == [dead]
