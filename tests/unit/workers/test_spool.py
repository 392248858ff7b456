import errno
import fcntl
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikaku.jobs import (
    Attempt,
    AttemptOutcome,
    CellAddress,
    CellCalls,
    CellRecord,
    CellScore,
    Outcome,
)
from workers import orphans as orphanage
from workers import spool as spools
from workers.orphans import Orphan, segments
from workers.spool import Spool, key_of

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


def address(row=0, epoch=1):
    return CellAddress(
        job_id="job_01m8028wbcff0v7qw6bswnaxz7",
        bucket=0,
        endpoint=1,
        row=row,
        repeat=0,
        round=0,
        shard_id=7,
        epoch=epoch,
    )


def call(number=1, outcome=AttemptOutcome.UNKNOWN):
    return Attempt(number=number, outcome=outcome, started_at=NOW)


def record(row=0, completion="りんごは赤色です。👩‍👩‍👧"):
    return CellRecord(
        address=address(row),
        outcome=Outcome.OK,
        recorded_at=NOW,
        completion=completion,
        input_tokens=3,
        latency_ms=12.5,
        cost_usd=Decimal("0.000123"),
        request_hash=b"\x00\xff" * 16,
        attempts=(call(1, AttemptOutcome.RATE_LIMITED), call(2, AttemptOutcome.OK)),
        scores=(CellScore(scorer=0, value=1.0), CellScore(scorer=1, value=None, unscored="無し")),
    )


def die(spool: Spool) -> None:
    """What the kernel does to the files of a killed process."""
    for segment in {*spool._segments.values(), spool._active}:
        segment.let_go()


def orphans(directory: Path) -> list[Orphan]:
    adopted = [Orphan.adopt(path) for path in segments(directory)]
    return [orphan for orphan in adopted if orphan is not None]


def inherited(directory: Path):
    (orphan,) = orphans(directory)
    left = orphan.read()
    orphan.release()
    return left


def test_a_record_survives_its_process_to_the_last_byte(tmp_path):
    spool = Spool(tmp_path, "a")
    spool.settled(record())
    die(spool)
    assert inherited(tmp_path).records == (record(),)


def test_a_call_that_nobody_saw_the_end_of_is_inherited_as_unknown(tmp_path):
    spool = Spool(tmp_path, "a")
    spool.called(CellCalls(address=address(), attempts=(call(1),)))
    spool.called(CellCalls(address=address(), attempts=(call(1, AttemptOutcome.RATE_LIMITED),)))
    spool.called(CellCalls(address=address(), attempts=(call(2),)))
    die(spool)
    outcomes = [calls.attempts[0].outcome for calls in inherited(tmp_path).unsettled]
    assert outcomes == [AttemptOutcome.RATE_LIMITED, AttemptOutcome.UNKNOWN]


def test_the_calls_of_a_settled_cell_come_with_its_record_and_not_twice(tmp_path):
    spool = Spool(tmp_path, "a")
    spool.called(CellCalls(address=address(), attempts=(call(1),)))
    spool.settled(record())
    die(spool)
    left = inherited(tmp_path)
    assert left.records == (record(),)
    assert left.unsettled == ()


def test_a_torn_last_line_is_no_line(tmp_path):
    spool = Spool(tmp_path, "a")
    spool.settled(record(0))
    whole = spool._active.size
    spool.settled(record(1))
    spool._active._map[spool._active.size - 1] ^= 1
    die(spool)
    assert [one.address.row for one in inherited(tmp_path).records] == [0]
    assert whole > 0


def test_the_spool_of_a_living_process_is_left_alone(tmp_path):
    spool = Spool(tmp_path, "a")
    spool.settled(record())
    assert list(orphans(tmp_path)) == []
    assert Orphan.adopt(spool._active.path) is None


def test_who_finds_a_spool_being_adopted_waits_until_it_is_stored(tmp_path):
    spool = Spool(tmp_path, "a")
    spool.settled(record())
    die(spool)
    (first,) = orphans(tmp_path)
    with ThreadPoolExecutor(1) as other:
        second = other.submit(orphans, tmp_path)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.2)
        first.remove()
        assert second.result(timeout=60) == []


def test_who_listed_a_spool_before_it_was_taken_waits_for_it_too(tmp_path):
    spool = Spool(tmp_path, "a")
    spool.settled(record())
    die(spool)
    (listed,) = segments(tmp_path)
    (first,) = orphans(tmp_path)
    with ThreadPoolExecutor(1) as other:
        second = other.submit(Orphan.adopt, listed)
        with pytest.raises(TimeoutError):
            second.result(timeout=0.2)
        first.remove()
        assert second.result(timeout=60) is None


def test_nobody_takes_a_spool_for_a_living_one_s_while_its_adopter_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(orphanage, "NAMING_SECONDS", 60)
    spool = Spool(tmp_path, "a")
    spool.settled(record())
    die(spool)
    (listed,) = segments(tmp_path)
    directory, locked = os.open(tmp_path, os.O_RDONLY), os.open(listed, os.O_RDWR)
    with ThreadPoolExecutor(2) as others:
        for file in (directory, locked):
            fcntl.flock(file, fcntl.LOCK_EX)
        adopted, found = others.submit(Orphan.adopt, listed), others.submit(segments, tmp_path)
        for second in (adopted, found):
            with pytest.raises(TimeoutError):
                second.result(timeout=0.2)
        named = listed.rename(listed.with_suffix(spools.ADOPTING))
        os.close(directory)
        assert found.result(timeout=60) == [named]
        with pytest.raises(TimeoutError):
            adopted.result(timeout=0.2)
        named.unlink()
        os.close(locked)
        assert adopted.result(timeout=60) is None


def test_one_that_stands_still_in_the_midst_of_naming_a_spool_holds_nobody_up(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(orphanage, "NAMING_SECONDS", 0.05)
    spool = Spool(tmp_path, "a")
    spool.settled(record())
    die(spool)
    directory = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    assert inherited(tmp_path).records == (record(),)
    os.close(directory)


def test_a_spool_that_cannot_be_named_is_left_for_others(tmp_path, monkeypatch):
    spool = Spool(tmp_path, "a")
    spool.settled(record())
    die(spool)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", full)
        with pytest.raises(OSError, match="No space"):
            orphans(tmp_path)
    assert inherited(tmp_path).records == (record(),)


def test_an_adopter_that_does_not_go_on_holds_nobody_up(tmp_path):
    spool = Spool(tmp_path, "a")
    spool.settled(record())
    die(spool)
    (frozen,) = orphans(tmp_path)
    (path,) = segments(tmp_path)
    second = Orphan.adopt(path, patience=0.1)
    assert second is not None
    assert second.read().records == (record(),)
    second.remove()
    assert segments(tmp_path) == []
    assert frozen.read().records == (record(),)
    frozen.remove()


def test_a_spool_whose_adopter_died_too_is_adopted_again(tmp_path):
    spool = Spool(tmp_path, "a")
    spool.settled(record())
    die(spool)
    (first,) = orphans(tmp_path)
    first.release()
    assert inherited(tmp_path).records == (record(),)


def test_a_file_is_emptied_when_postgres_has_all_of_it(tmp_path):
    spool = Spool(tmp_path, "a")
    spool.settled(record(0))
    spool.settled(record(1))
    spool.stored(iter([key_of(address(0))]))
    assert spool._active.size > 0
    spool.stored(iter([key_of(address(1))]))
    die(spool)
    assert inherited(tmp_path).records == ()


def test_what_was_there_before_a_file_was_emptied_does_not_come_back(tmp_path):
    spool = Spool(tmp_path, "a")
    for row in range(3):
        spool.settled(record(row))
    spool.stored(iter([key_of(address(row)) for row in range(3)]))
    spool.settled(record(7))
    die(spool)
    assert [one.address.row for one in inherited(tmp_path).records] == [7]


@pytest.mark.parametrize("at", ["in the payload", "before the head"])
def test_a_kill_in_the_midst_of_a_line_leaves_those_before_it(tmp_path, at):
    spool = Spool(tmp_path, "a")
    spool.settled(record(0))
    segment, before = spool._active, spool._active.size
    spool.settled(record(1))
    if at == "in the payload":
        segment._map[before + 20 : segment.size] = bytes(segment.size - before - 20)
    else:
        segment._map[before : before + 8] = bytes(8)
    die(spool)
    assert [one.address.row for one in inherited(tmp_path).records] == [0]


def test_a_line_longer_than_the_room_makes_room(tmp_path, monkeypatch):
    monkeypatch.setattr(spools, "ROOM_BYTES", 100)
    spool = Spool(tmp_path, "a", segment=100)
    long = record(completion="長" * 10_000)
    spool.settled(long)
    spool.settled(record(1))
    die(spool)
    found = [one for orphan in orphans(tmp_path) for one in orphan.read().records]
    assert sorted(found, key=lambda one: one.address.row) == [long, record(1)]


def test_a_full_disk_is_an_error_before_the_line_and_leaves_the_file_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(spools, "ROOM_BYTES", 1000)
    spool = Spool(tmp_path, "a", segment=1000)
    spool.settled(record(0))
    monkeypatch.setattr(os, "pwrite", lambda _file, content, _offset: len(content) - 1)
    with pytest.raises(OSError, match="No space left"):
        spool.settled(record(0, completion="長" * 10_000))
    die(spool)
    assert inherited(tmp_path).records == (record(0),)


def test_a_full_segment_goes_when_its_last_cell_is_stored(tmp_path, monkeypatch):
    spool = Spool(tmp_path, "a", segment=1)
    spool.settled(record(0))
    spool.settled(record(1))
    assert len(list(tmp_path.glob("*.spool"))) == 2
    spool.stored(iter([key_of(address(0))]))
    assert len(list(tmp_path.glob("*.spool"))) == 1


def test_a_full_disk_leaves_no_half_made_segment_and_no_cell_that_holds_one(tmp_path, monkeypatch):
    spool = Spool(tmp_path, "a", segment=1)
    spool.called(CellCalls(address=address(0), attempts=(call(),)))
    with monkeypatch.context() as full:
        full.setattr(os, "pwrite", lambda _file, content, _offset: len(content) - 1)
        with pytest.raises(OSError, match="No space left"):
            spool.called(CellCalls(address=address(1), attempts=(call(),)))
        with pytest.raises(OSError, match="No space left"):
            spool.make_room()
    assert [path.name for path in tmp_path.iterdir()] == ["a-000001.spool"]
    spool.make_room()
    spool.called(CellCalls(address=address(1), attempts=(call(),)))
    spool.stored(iter([key_of(address(0)), key_of(address(1))]))
    spool.close()
    assert list(tmp_path.iterdir()) == []


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_comes_back_byte_for_byte(text):
    envelope = spools._enveloped(record(completion=text))
    back = spools._decoder.decode(spools._encoder.encode(envelope))
    assert back.record == record(completion=text)
