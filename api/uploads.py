"""Uploads: the body flows from the socket through a thread into Postgres, and is never held.

The thread that owns the transaction asks the event loop for the next chunk when it has stored the
one before; a thread that is slower than the network makes the sender wait, end to end.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain

from anyio import fail_after, from_thread
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from api.errors import RequestRefusedError
from hikaku.errors import InvalidInput

_CHUNK_BYTES = 256 * 1024
"""Small chunks of the socket are put together up to here: fewer changes of thread."""

_LONGEST_FIELD = 1_000
"""Bytes of a field of a form."""

_PATIENCE = 60.0
"""Seconds in which a sender has to send something."""


@dataclass(slots=True)
class Body:
    """The body of a request, read from another thread than the one of the event loop."""

    stream: AsyncIterator[bytes]

    def chunks(self) -> Iterator[bytes]:
        """Give the body piece by piece; to be called in a thread that anyio started.

        Raises:
            RequestRefusedError: The sender has stopped sending.
        """
        while chunk := from_thread.run(self._gather):
            yield chunk

    async def _gather(self) -> bytes:
        gathered = bytearray()
        try:
            with fail_after(_PATIENCE):
                while len(gathered) < _CHUNK_BYTES:
                    gathered += await anext(self.stream)
        except StopAsyncIteration:
            pass
        except TimeoutError as error:
            detail = f"nothing came for {_PATIENCE:g} s; nothing was stored"
            raise RequestRefusedError(
                status=HTTPStatus.REQUEST_TIMEOUT, code="upload_stalled", detail=detail
            ) from error
        return bytes(gathered)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """What was uploaded, whichever way it was wrapped."""

    name: str | None
    content_type: str | None
    first: bytes
    """The beginning, for telling the format."""
    chunks: Iterator[bytes]
    """All of it, the beginning included."""


def opened(chunks: Iterator[bytes], content_type: str) -> File:
    """Find the file in a body: the body itself, or the one file of a multipart form.

    Raises:
        InvalidInput: The form is broken, or does not hold exactly one file.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return _file(None, content_type or None, chunks)
    if b"boundary" not in options:
        raise InvalidInput("the multipart body names no boundary in its Content-Type")
    form = _Form(options[b"boundary"])
    content = form.read(chunks)
    first = next(content, b"")
    return _file(form.filename, form.content_type, chain([first], content))


def opened_form(
    chunks: Iterator[bytes], content_type: str
) -> tuple[Iterator[bytes], Mapping[str, str]]:
    """Find the file in a multipart form with fields; these are all there when it has been read.

    Its name is among them, as `filename`.

    Raises:
        InvalidInput: The form is broken, or does not hold exactly one file.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise InvalidInput("send a multipart form with one `file` and its fields")
    fields: dict[str, str] = {}
    form = _Form(options[b"boundary"], fields)
    return form.read(chunks), fields


def hashed(chunks: Iterator[bytes], digest: "hashlib._Hash") -> Iterator[bytes]:
    """Pass chunks on and hash them on their way."""
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _file(name: str | None, content_type: str | None, chunks: Iterator[bytes]) -> File:
    first = next(chunks, b"")
    rest = chain([first], chunks) if first else chunks
    return File(name=name, content_type=content_type, first=first, chunks=rest)


class _Form:
    """Takes the one file out of a multipart form, piece by piece."""

    def __init__(self, boundary: bytes, fields: dict[str, str] | None = None) -> None:
        self._fields = fields
        """Where fields go; None when there may be none."""
        self._field: str | None = None
        self._text = b""
        self.filename: str | None = None
        self.content_type: str | None = None
        self._ready: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = b"", b""
        self._is_complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._take_field,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._take_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def read(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """Give the content of the file."""
        for chunk in chunks:
            try:
                self._parser.write(chunk)
            except MultipartParseError as error:
                raise InvalidInput(f"the multipart body is broken: {error}") from error
            if self._ready:
                yield b"".join(self._ready)
                self._ready.clear()
        if self.filename is None:
            raise InvalidInput("the form holds no file; send one part with a filename")
        if not self._is_complete:
            raise InvalidInput("the multipart body ends before its last boundary")

    def _begin(self) -> None:
        self._headers.clear()

    def _take_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header, self._value = b"", b""

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        if b"filename" not in options:
            name = options.get(b"name", b"").decode("utf-8", "replace")
            if self._fields is None:
                raise InvalidInput(
                    f"the form has a field {name!r}; send it in the query of the URL"
                )
            self._field, self._text = name, b""
            return
        if self.filename is not None:
            raise InvalidInput("the form holds more than one file; send one after the other")
        self.filename = options[b"filename"].decode("utf-8", "replace")
        if self._fields is not None:
            self._fields["filename"] = self.filename
        kind = self._headers.get(b"content-type")
        self.content_type = None if kind is None else kind.decode("latin-1")

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._ready.append(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _LONGEST_FIELD:
            raise InvalidInput(f"the field {self._field!r} of the form is too long")

    def _end_part(self) -> None:
        if self._field is not None and self._fields is not None:
            self._fields[self._field] = self._text.decode("utf-8", "replace")
        self._field = None

    def _end(self) -> None:
        self._is_complete = True
