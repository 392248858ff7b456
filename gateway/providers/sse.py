"""Server-sent events out of bytes that may be cut anywhere, in the middle of a character too."""

from collections.abc import AsyncIterator, Iterator

from gateway.errors import MalformedAnswer

LONGEST_EVENT = 8 * 1024 * 1024
"""Bytes; a longer event is no event of a language model."""


class EventParser:
    """Collects bytes and gives back the data of every event that is complete."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Data of the events that `piece` completes, as UTF-8 bytes, in order.

        Raises:
            MalformedAnswer: An event grows beyond `LONGEST_EVENT`.
        """
        buffer = self._rest + piece
        *lines, self._rest = buffer.split(b"\n")
        if len(self._rest) > LONGEST_EVENT:
            raise MalformedAnswer(f"an event is longer than {LONGEST_EVENT} bytes")
        for line in lines:
            yield from self._line(line.removesuffix(b"\r"))

    def end(self) -> Iterator[bytes]:
        """The last event, where the sender left out the empty line after it."""
        if self._rest:
            rest, self._rest = self._rest, b""
            yield from self._line(rest.removesuffix(b"\r"))
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[bytes]:
        if line.startswith(b"data:"):
            self._lines.append(line[5:].removeprefix(b" "))
        elif not line and self._lines:
            event = b"\n".join(self._lines)
            self._lines.clear()
            yield event
        # Comments (keep-alive), ids and event names carry nothing that a model says.


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The data of every event of a stream."""
    parser = EventParser()
    async for chunk in chunks:
        for event in parser.feed(chunk):
            yield event
    for event in parser.end():
        yield event
