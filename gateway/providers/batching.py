"""The batch interfaces of vendors: many requests handed over at once, at a lower price."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from gateway.config import Timeouts
from gateway.errors import GatewayError, MalformedAnswer
from gateway.http import BODY_CAP
from gateway.types import Answer, JSONObject

MOST_RESULTS = 2**33
"""Bytes of the results of one batch, which are read line by line."""
_LONGEST = 3_600.0
"""Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLook:
    """How a batch is at its vendor."""

    ended: bool
    """Whether nothing more happens there; also when it failed, expired or was cancelled."""
    error: str | None = None
    """Why the vendor took none of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAnswer:
    """What became of one request; requests that were not executed have none."""

    custom_id: str
    answer: Answer | None = None
    error: GatewayError | None = None


class VendorBatches(Protocol):
    """One vendor's batch interface, for one endpoint."""

    max_requests: int
    """Of one batch: what the vendor takes, or less where the endpoint says so."""
    max_bytes: int

    def line(self, custom_id: str, body: JSONObject) -> bytes:
        """Write one request.

        Raises:
            GatewayError: The endpoint cannot be asked so.
        """
        ...

    async def find(self, mark: str, age: timedelta, count: int) -> list[str]:
        """List batches at the vendor that may be the one of this mark, the likeliest first.

        Args:
            mark: What was handed over with it.
            age: How long ago that was, at most.
            count: Of its requests.
        """
        ...

    async def submit(self, mark: str, lines: Sequence[bytes]) -> str:
        """Hand requests over; gives the vendor's id."""
        ...

    async def look(self, batch_id: str) -> BatchLook:
        """Ask how it is."""
        ...

    def results(self, batch_id: str) -> AsyncGenerator[BatchAnswer, None]:
        """Read what came of a batch that has ended."""
        ...

    async def cancel(self, batch_id: str) -> None:
        """Ask the vendor to start no more of it."""
        ...


def unhurried(timeouts: Timeouts) -> Timeouts:
    """Give the time that files of hundreds of megabytes take; silence is still not waited for."""
    return timeouts.model_copy(update={"total": max(timeouts.total, _LONGEST), "first_byte": None})


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Cut a stream at its line feeds; empty lines do not count.

    Raises:
        MalformedAnswer: One of them is longer than any answer may be.
    """
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if b"\n" not in chunk:
            if len(waiting) > BODY_CAP:
                raise MalformedAnswer(f"a line is longer than {BODY_CAP} bytes")
            continue
        *whole, rest = bytes(waiting).split(b"\n")
        waiting = bytearray(rest)
        for line in whole:
            if line.strip():
                yield line
    if waiting.strip():
        yield bytes(waiting)
