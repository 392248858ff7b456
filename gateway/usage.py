"""What every call used: noted on the hot path, written in batches beside it."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec.structs import asdict
from typing_extensions import override

from gateway.config import Price, cost
from gateway.errors import Outcome
from gateway.types import Usage

log = logging.getLogger(__name__)

MOST_RECORDS = 100_000
"""Kept while the sink is away; beyond it the oldest are lost, and counted."""
BATCH = 5_000
EVERY = 1.0
"""Seconds between two batches."""


class UsageRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call of a caller, however many attempts it took. A struct, for there are so many."""

    at: float
    """Unix time of its beginning."""
    request_id: str
    caller: str | None
    asked: str
    """The name that was asked for."""
    endpoint: str | None
    """Who answered, or failed last."""
    outcome: Outcome | None
    """None: given up by the caller."""
    status: int | None
    """Of the provider, when it failed."""
    input_tokens: int | None
    output_tokens: int | None
    cached_input_tokens: int | None = None
    attempts: int
    seconds: float
    provider_seconds: float
    first_byte_seconds: float | None
    streamed: bool
    cached: bool
    price: Price | None = None
    """As it was when the call was made; None: not known."""
    price_source: str | None = None
    """Where the price stood, and as of when."""

    @property
    def cost_usd(self) -> Decimal | None:
        """What it cost; None: not known. Who was not asked, or gave it again, takes nothing."""
        if self.cached or self.attempts == 0:
            return Decimal(0)
        if self.price is None:
            return None
        counted = Usage(
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            cached_input_tokens=self.cached_input_tokens,
        )
        return cost(self.price, counted)


class Sink(Protocol):
    """Where records go in the end."""

    async def write(self, records: Sequence[UsageRecord]) -> None:
        """Write them all; what is raised has them come again."""
        ...


class Recorder:
    """A bounded queue between the hot path and a sink."""

    def __init__(self, sink: Sink, *, most: int = MOST_RECORDS, every: float = EVERY) -> None:
        self._sink = sink
        self._every = every
        self._queue: deque[UsageRecord] = deque(maxlen=most)
        self._most = most
        self._task: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self.lost = 0
        """Records that were dropped because the sink was away for too long."""

    def note(self, record: UsageRecord) -> None:
        """Keep a record until it is written; never waits."""
        if len(self._queue) == self._most:
            self.lost += 1
        self._queue.append(record)

    def start(self) -> None:
        """Begin to write, in the running loop."""
        self._ending = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name="usage")

    async def stop(self) -> None:
        """Write what is left, once, and end."""
        if self._task is not None:
            # Not cancelled: what a thread of the sink is writing would be written once more.
            self._ending.set()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        while await self._written():
            pass

    async def _run(self) -> None:
        while not self._ending.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._ending.wait()
            more = True
            while more and not self._ending.is_set():
                more = await self._written()

    async def _written(self) -> bool:
        """Write one batch; whether there may be more to write now."""
        batch = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH))]
        if not batch:
            return False
        try:
            await self._sink.write(batch)
        except BaseException as error:
            self._put_back(batch)
            if not isinstance(error, Exception):
                raise
            log.warning("usage could not be written; kept: %s", error)
            return False
        return True

    def _put_back(self, batch: list[UsageRecord]) -> None:
        room = self._most - len(self._queue)
        kept = batch[len(batch) - room :] if room < len(batch) else batch
        self.lost += len(batch) - len(kept)
        self._queue.extendleft(reversed(kept))


class JsonLines(Sink):
    """A file with one record per line; several processes may append to the same one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encoder = msgspec.json.Encoder(enc_hook=_plain)

    @override
    async def write(self, records: Sequence[UsageRecord]) -> None:
        await asyncio.to_thread(self._append, records)

    def _append(self, records: Sequence[UsageRecord]) -> None:
        rows = [asdict(record) | {"cost_usd": record.cost_usd} for record in records]
        lines = self._encoder.encode_lines(rows)
        # One write: lines of processes that append at once do not mix.
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            while lines:
                lines = lines[os.write(file, lines) :]
        finally:
            os.close(file)


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON has
    """A price as the gateway's file has it."""
    if isinstance(value, Price):
        return value.model_dump(exclude_none=True)
    raise NotImplementedError(type(value))
