"""AWS's event-stream encoding: frames with checksums out of bytes that may be cut anywhere.

Source: "Event stream encoding" of the Smithy specification (`application/vnd.amazon.eventstream`).
"""

import struct
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from zlib import crc32

from gateway.errors import MalformedAnswer

_PRELUDE = struct.Struct(">III")
"""Length of the frame, length of its headers, checksum of the two."""
_TAIL = struct.Struct(">I")
LONGEST_FRAME = 24 * 1024 * 1024
"""Bytes; the specification allows no longer one."""
_TEXT = 7
"""The type of a header value that is a string; AWS sends no others here."""
_WIDTHS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of the header values whose length their type tells."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    headers: Mapping[str, str]
    """Those that are strings."""
    payload: bytes


class FrameParser:
    """Collects bytes and gives back the frames that are complete."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Frames that `piece` completes, in order.

        Raises:
            MalformedAnswer: A checksum or a length is wrong.
        """
        self._buffer += piece
        while len(self._buffer) >= _PRELUDE.size:
            length, headers, checksum = _PRELUDE.unpack_from(self._buffer)
            if crc32(self._buffer[:8]) != checksum:
                raise MalformedAnswer("the head of an event's frame is damaged")
            if not _PRELUDE.size + headers + _TAIL.size <= length <= LONGEST_FRAME:
                raise MalformedAnswer(f"a frame of {length} bytes cannot be")
            if len(self._buffer) < length:
                return
            frame = bytes(self._buffer[:length])
            del self._buffer[:length]
            yield _frame(frame, headers)

    def end(self) -> None:
        """The bytes are over.

        Raises:
            MalformedAnswer: In the middle of a frame.
        """
        if self._buffer:
            raise MalformedAnswer("the stream ended within an event")


async def frames(chunks: AsyncIterator[bytes]) -> AsyncIterator[Frame]:
    """The frames of a stream."""
    parser = FrameParser()
    async for chunk in chunks:
        for frame in parser.feed(chunk):
            yield frame
    parser.end()


def _frame(raw: bytes, headers: int) -> Frame:
    if crc32(raw[: -_TAIL.size]) != _TAIL.unpack_from(raw, len(raw) - _TAIL.size)[0]:
        raise MalformedAnswer("an event's frame is damaged")
    payload_at = _PRELUDE.size + headers
    try:
        found = dict(_headers(raw[_PRELUDE.size : payload_at]))
    except (IndexError, struct.error, UnicodeDecodeError, KeyError) as error:
        raise MalformedAnswer(f"an event's headers are damaged: {error!r}") from error
    return Frame(found, raw[payload_at : -_TAIL.size])


def _headers(raw: bytes) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(raw):
        name_ends = at + 1 + raw[at]
        name, kind = raw[at + 1 : name_ends].decode("utf-8"), raw[name_ends]
        at = name_ends + 1
        if kind in _WIDTHS:
            at += _WIDTHS[kind]
            continue
        (width,) = struct.unpack_from(">H", raw, at)
        value, at = raw[at + 2 : at + 2 + width], at + 2 + width
        if kind == _TEXT:
            yield name, value.decode("utf-8")
