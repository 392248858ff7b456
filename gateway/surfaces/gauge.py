"""What a vendor's body says that it counted, read while the body passes by."""

from typing import TypeVar

import msgspec

from gateway.errors import MalformedAnswer
from gateway.providers import cohere_answers, gemini_answers
from gateway.providers.sse import EventParser
from gateway.streams import usage_in
from gateway.types import Usage

MOST_KEPT = 1024 * 1024
"""Bytes of a body that is no stream of events; of a longer one, the end."""
_END_KEPT = 64 * 1024
_NOTHING = Usage()
_KEYS = (b'"usage"', b'"usageMetadata"', b'"meta"', b'"details"')
"""Where counts may stand at the end of a long body."""


class _CohereInside(msgspec.Struct):
    usage: cohere_answers.Counts | None = None


class _Meta(msgspec.Struct):
    tokens: cohere_answers.Tokens | None = None
    billed_units: cohere_answers.Tokens | None = None


class _Cohere(msgspec.Struct):
    usage: cohere_answers.Counts | None = None
    delta: _CohereInside | None = None
    """Of the last event of a stream."""
    meta: _Meta | None = None
    """Of embeddings, and of its first interface."""

    def counted(self) -> Usage:
        """All that is known."""
        inside = self.delta.usage if self.delta is not None else None
        meta = self.meta or _Meta()
        counts = self.usage or inside
        if counts is None:
            counts = cohere_answers.Counts(tokens=meta.tokens or meta.billed_units)
        return counts.usage()


class _Google(msgspec.Struct):
    usageMetadata: gemini_answers.Counts | None = None  # noqa: N815 - Google's name


class _Details(msgspec.Struct):
    generated_tokens: int | None = None
    prefill: list[msgspec.Raw] | None = None


class _Tgi(msgspec.Struct):
    details: _Details | None = None


_COHERE = msgspec.json.Decoder(_Cohere)
_GOOGLE = msgspec.json.Decoder(_Google | list[_Google])
_TGI = msgspec.json.Decoder(_Tgi)


class Gauge:
    """Reads a body as it passes, keeps little of it, and never holds it up."""

    def __init__(self, content_type: str) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        self.streamed = kind == "text/event-stream"
        self._is_json = kind == "application/json" or kind.endswith("+json")
        self._parser = EventParser()
        self._kept = bytearray()
        self._whole = True
        self._usage = _NOTHING

    def feed(self, piece: bytes) -> None:
        """Take note of the next piece."""
        if self.streamed:
            self._read(piece)
        elif self._is_json:
            self._kept += piece
            if len(self._kept) > MOST_KEPT:
                self._whole = False
                del self._kept[:-_END_KEPT]

    @property
    def body(self) -> bytes:
        """The body, where it is short and JSON."""
        return bytes(self._kept) if self._whole else b""

    def usage(self) -> Usage:
        """What was counted; what the body does not say is not known."""
        if self.streamed:
            for event in self._parser.end():
                self._usage = counted(event, self._usage)
        if not self._kept:
            return self._usage
        if self._whole:
            return counted(bytes(self._kept), _NOTHING)
        return _counted_at_the_end(bytes(self._kept))

    def _read(self, piece: bytes) -> None:
        try:
            for event in self._parser.feed(piece):
                self._usage = counted(event, self._usage)
        except MalformedAnswer:  # Longer than any event; it passes all the same.
            self._parser = EventParser()


def counted(raw: bytes, before: Usage) -> Usage:
    """The counts of a body or an event in any vendor's words; those before where it has none."""
    found = usage_in(raw, before)
    if found != before:
        return found
    if b"usageMetadata" in raw and (google := _decoded(_GOOGLE, raw)) is not None:
        several = google if isinstance(google, list) else [google]
        counts = [one.usageMetadata for one in several if one.usageMetadata is not None]
        return counts[-1].usage() if counts else before
    if b"_tokens" not in raw:
        return before
    cohere = _decoded(_COHERE, raw)
    if cohere is not None and (told := cohere.counted()) != _NOTHING:
        return told
    if (tgi := _decoded(_TGI, raw)) is not None and tgi.details is not None:
        prefill = tgi.details.prefill
        return Usage(
            input_tokens=len(prefill) if prefill else None,
            output_tokens=tgi.details.generated_tokens,
        )
    return before


def _counted_at_the_end(end: bytes) -> Usage:
    """The counts of a long body, where they stand in its last part.

    From a key of the outermost object on, what is left closes exactly one object: the rest of any
    other does not read as JSON.
    """
    for key in _KEYS:
        at = end.find(key)
        while at >= 0:
            found = counted(b"{" + end[at:], _NOTHING)
            if found != _NOTHING:
                return found
            at = end.find(key, at + 1)
    return _NOTHING


Shape = TypeVar("Shape")


def _decoded(decoder: msgspec.json.Decoder[Shape], raw: bytes) -> Shape | None:
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
