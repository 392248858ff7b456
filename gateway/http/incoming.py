"""One reply on its way in: its head, its pieces, its end or what broke it off."""

import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from typing_extensions import override

from gateway.errors import GatewayError, MalformedAnswer, TimedOut
from gateway.http import wire

_COMPRESSED = frozenset({b"gzip", b"x-gzip", b"deflate"})
_GZIP_OR_ZLIB = 47


class Limit(NamedTuple):
    """A time by which something has to have happened."""

    at: float
    """By the event loop's clock."""
    seconds: float
    words: str
    """What to say of it when it has not, with a place for the seconds."""

    def sooner(self, now: float, seconds: float, words: str) -> "Limit":
        """A limit so many seconds from now, unless this one comes first."""
        at = now + seconds
        return Limit(at, seconds, words) if at < self.at else self

    def missed(self) -> TimedOut:
        """It has not happened."""
        return TimedOut(self.words.format(f"{self.seconds:g}"))


class ReplyHeaders(Mapping[str, str]):
    """Headers of a reply; read into text when somebody asks, which is rare.

    Looked up in any case, listed in lower case. Of a repeated header, the values joined.
    """

    __slots__ = ("_raw", "_read")

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._raw = raw
        self._read: dict[str, str] | None = None

    @override
    def __getitem__(self, name: str) -> str:
        return self._text()[name.lower()]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._text())

    @override
    def __len__(self) -> int:
        return len(self._text())

    def _text(self) -> dict[str, str]:
        if self._read is None:
            self._read = {}
            for raw_name, raw_value in self._raw:
                name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
                before = self._read.get(name)
                self._read[name] = value if before is None else f"{before}, {value}"
        return self._read


class Incoming:
    """What is there of one reply. Mutable and without validation: there is one per call."""

    __slots__ = (
        "_inflate", "cap", "complete", "failure", "headers", "pieces", "size", "status",
        "streamed", "total",
    )  # fmt: skip

    def __init__(self, *, streamed: bool, cap: int | None = None) -> None:
        self.streamed = streamed
        """Whether each step is told, or the end alone."""
        self.cap = wire.BODY_CAP if cap is None else cap
        """Bytes of the body at most."""
        self.total: Limit | None = None
        """Of the whole call; it alone holds for a whole reply once the head is there."""
        self.status = 0
        """0 while there is no head."""
        self.headers: ReplyHeaders | None = None
        self.pieces: list[bytes] = []
        self.size = 0
        """Bytes of the body so far."""
        self.complete = False
        self.failure: GatewayError | None = None
        self._inflate: zlib._Decompress | None = None

    def begin(self, status: int, headers: list[tuple[bytes, bytes]], encoding: bytes) -> None:
        """The head is there.

        Raises:
            MalformedAnswer: The body is encoded as nobody asked for.
        """
        self.status = status
        self.headers = ReplyHeaders(headers)
        if encoding in _COMPRESSED:
            self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        elif encoding not in (b"", b"identity"):
            raise MalformedAnswer(f"the answer is encoded as {encoding.decode('latin-1')}")

    def take(self, piece: bytes) -> None:
        """A piece of the body is there.

        Raises:
            MalformedAnswer: It makes the body too long, or is not what was announced.
        """
        if self._inflate is not None:
            piece = self._inflated(self._inflate, piece)
        self.size += len(piece)
        if self.size > self.cap:
            raise MalformedAnswer(f"the answer is longer than {self.cap} bytes")
        self.pieces.append(piece)

    def end(self) -> None:
        """All of the body is there.

        Raises:
            MalformedAnswer: The compressed text goes on.
        """
        if self._inflate is not None and self.size and not self._inflate.eof:
            raise MalformedAnswer("the answer broke off inside its compressed text")
        self.complete = True

    def taken(self) -> bytes:
        """All pieces that are there, as one; they are gone then."""
        pieces = self.pieces
        if len(pieces) == 1:
            return pieces.pop()
        self.pieces = []
        return b"".join(pieces)

    def _inflated(self, inflate: "zlib._Decompress", piece: bytes) -> bytes:
        room = self.cap + 1 - self.size
        try:
            text = inflate.decompress(piece, max(room, 1))
        except zlib.error as error:
            raise MalformedAnswer(f"the answer is compressed in no known way: {error}") from error
        if inflate.unused_data:
            raise MalformedAnswer("there is something behind the compressed text")
        return text
