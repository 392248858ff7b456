"""The batch interfaces of vendors: many requests handed over at once, at a lower price."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from gateway.errors import GatewayError
from gateway.types import Answer, JSONObject


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
    max_bytes: int

    def line(self, custom_id: str, body: JSONObject) -> bytes:
        """Write one request.

        Raises:
            GatewayError: The endpoint cannot be asked so.
        """
        ...

    async def find(self, mark: str, since: datetime, count: int) -> list[str]:
        """List batches at the vendor that may be the one of this mark, the likeliest first."""
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


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Cut a stream at its line feeds; empty lines do not count."""
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if b"\n" not in chunk:
            continue
        *whole, rest = bytes(waiting).split(b"\n")
        waiting = bytearray(rest)
        for line in whole:
            if line.strip():
                yield line
    if waiting.strip():
        yield bytes(waiting)
