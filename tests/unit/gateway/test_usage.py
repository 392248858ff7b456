import asyncio
import json
import threading
from collections.abc import Callable, Sequence

from typing_extensions import override

from gateway.errors import Outcome
from gateway.usage import JsonLines, Recorder, Sink, UsageRecord


def record(number: int) -> UsageRecord:
    return UsageRecord(
        at=0.0,
        request_id=str(number),
        caller=None,
        asked="a",
        endpoint="a",
        outcome=Outcome.OK,
        status=None,
        input_tokens=1,
        output_tokens=2,
        attempts=1,
        seconds=0.0,
        provider_seconds=0.0,
        first_byte_seconds=None,
        streamed=False,
        cached=False,
    )


class Shaky(Sink):
    def __init__(self, *, well: bool = True) -> None:
        self.well = well
        self.batches: list[list[str]] = []
        self.refused = 0

    @override
    async def write(self, records: Sequence[UsageRecord]) -> None:
        await asyncio.sleep(0)
        if not self.well:
            self.refused += 1
            raise ConnectionError("the database is away")
        self.batches.append([r.request_id for r in records])


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the recorder tells nobody
        await asyncio.sleep(0.001)


async def test_records_are_written_in_batches_and_the_rest_at_the_end():
    sink = Shaky()
    recorder = Recorder(sink, every=0.01)
    recorder.start()
    for number in range(3):
        recorder.note(record(number))
    await until(lambda: len(sink.batches) == 1)
    recorder.note(record(3))
    await recorder.stop()
    assert sink.batches == [["0", "1", "2"], ["3"]]


async def test_what_is_being_written_when_the_end_comes_is_written_once(tmp_path):
    began, go_on = threading.Event(), threading.Event()

    class Slow(JsonLines):
        @override
        def _append(self, records: Sequence[UsageRecord]) -> None:
            began.set()
            go_on.wait(60)
            super()._append(records)

    recorder = Recorder(Slow(tmp_path / "usage.jsonl"), every=0.01)
    recorder.start()
    recorder.note(record(0))
    await until(began.is_set)
    recorder.note(record(1))
    stopping = asyncio.create_task(recorder.stop())
    await asyncio.sleep(0.05)
    go_on.set()
    await stopping
    lines = (tmp_path / "usage.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["request_id"] for line in lines] == ["0", "1"]


async def test_records_wait_for_a_sink_that_is_away_and_the_oldest_are_lost_and_counted():
    sink = Shaky(well=False)
    recorder = Recorder(sink, most=5, every=0.005)
    recorder.start()
    for number in range(4):
        recorder.note(record(number))
    await until(lambda: sink.refused >= 1)
    for number in range(4, 8):
        recorder.note(record(number))
    seen = sink.refused
    await until(lambda: sink.refused >= seen + 2)
    assert recorder.lost == 3
    sink.well = True
    await recorder.stop()
    assert [r for batch in sink.batches for r in batch] == ["3", "4", "5", "6", "7"]
