"""Answers that are larger than memory: a generator runs in a thread, a chunk at a time."""

from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from urllib.parse import quote

from anyio import CancelScope, to_thread

_CHUNK_BYTES = 64 * 1024


async def from_thread(chunks: Generator[bytes]) -> AsyncIterator[bytes]:
    """Draw from a blocking generator; it is closed whatever becomes of the reader."""
    try:
        while (chunk := await to_thread.run_sync(next, chunks, b"")) != b"":
            yield chunk
    finally:
        with CancelScope(shield=True):
            await to_thread.run_sync(chunks.close)


def joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Put small pieces together: a change of thread costs more than a line."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        if len(waiting) >= _CHUNK_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def attachment(filename: str) -> str:
    """Write a Content-Disposition that keeps the name whatever its script (RFC 6266)."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in filename)
    return f"attachment; filename=\"{kept}\"; filename*=UTF-8''{quote(filename, safe='')}"
