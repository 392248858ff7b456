"""What a vendor contributes to the contract suite: one row, built from its public documentation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from gateway.config import Endpoint, parse
from gateway.errors import GatewayError
from gateway.http import Reply
from gateway.types import Usage

NO_USAGE = Usage()
Matches = Callable[[str], bool]
"""Judges a header value that differs from call to call, such as a signature."""


class Kind(StrEnum):
    """A capability; the first three are endpoint types."""

    CHAT = "llm/v1/chat"
    COMPLETIONS = "llm/v1/completions"
    EMBEDDINGS = "llm/v1/embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"

    @property
    def endpoint_type(self) -> str:
        return str(Kind.CHAT if self in {Kind.RESPONSES, Kind.MESSAGES} else self)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What must arrive at the vendor for one canonical ask."""

    body: Mapping[str, Any]
    """The whole body, compared as JSON: no key more, no key less."""
    path: str | None = None
    """When it is not the usual one of its kind."""


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The vendor cannot do it: nothing is sent, and the error names the parameter."""

    parameter: str


@dataclass(frozen=True, kw_only=True)
class Call:
    """A tool call that must be read out of an answer."""

    id: str | None
    """None where the vendor has no ids, and one has to be made up."""
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What must be read out of an answer or a stream."""

    text: str = ""
    finish_reason: str | None = "stop"
    usage: Usage = NO_USAGE
    refusal: str | None = None
    calls: Sequence[Call] = ()
    model: str | None = None
    """Compared when given."""
    vectors: Sequence[Sequence[float]] | None = None


@dataclass(frozen=True, kw_only=True)
class Answered:
    """An answer in the vendor's shape, whole."""

    name: str
    body: object
    """JSON, or bytes as they are."""
    said: Said
    kind: Kind = Kind.CHAT
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    ask: Mapping[str, Any] | None = None
    """The canonical plain ask when None."""


@dataclass(frozen=True, kw_only=True)
class Streamed:
    """A stream in the vendor's shape, byte for byte."""

    name: str
    body: bytes
    said: Said
    kind: Kind = Kind.CHAT
    ask: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class BrokenStream:
    """A stream that is no answer."""

    name: str
    body: bytes
    error: type[GatewayError]
    kind: Kind = Kind.CHAT


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure that the vendor words in its own way, beside those of `FAILURES`."""

    name: str
    status: int
    body: object
    error: type[GatewayError]
    retry_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def openai_error(_status: int, message: str, kind: str) -> object:
    """An error body as OpenAI writes it; most of the field copied it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


_ENDPOINTS: dict[tuple[str, "Kind"], Endpoint] = {}
"""Parsed once: a stream is read hundreds of times."""


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """One provider name, with all its capabilities and habits."""

    name: str
    """Of the case; usually the provider's."""
    provider: str
    config: Mapping[str, Any]
    """`config:` of the YAML, whole."""
    urls: Mapping[Kind, str]
    """The whole URL per capability; the keys are the capabilities there are."""
    headers: Mapping[str, str | Matches]
    """Lower-case names; what must be sent besides `content-type`."""
    asks: Mapping[Kind, Mapping[str, Sent | Refused]]
    """By name of the canonical ask; every one of its kind must be there."""
    answers: Sequence[Answered]
    """At least `plain` per kind."""
    streams: Sequence[Streamed] = ()
    stream_urls: Mapping[Kind, str] = field(default_factory=dict[Kind, str])
    """Where streams are asked for, when it is not where answers are."""
    broken_streams: Sequence[BrokenStream] = ()
    secrets: Sequence[str] = ("sk-secret-0123456789",)
    """Strings that no error, listing or repr may hold."""
    model: str = "m"
    error: Callable[[int, str, str], object] = openai_error
    """(status, message, name of the case) to the vendor's error body."""
    failures: Sequence[Failure] = ()
    exceptions: Mapping[str, type[GatewayError]] = field(
        default_factory=dict[str, type[GatewayError]]
    )
    """Cases of `FAILURES` that mean something else at this vendor."""
    malformed: Sequence[bytes] = ()
    """200s that are no answer to chat, besides those that are none anywhere."""
    refused: Mapping[Kind, Mapping[str, Any]] = field(default_factory=dict[Kind, Mapping[str, Any]])
    """Parameters, each with a value, that the vendor would bend or ignore."""
    honoured: Mapping[Kind, Mapping[str, tuple[Any, Mapping[str, Any]]]] = field(
        default_factory=dict[Kind, Mapping[str, tuple[Any, Mapping[str, Any]]]]
    )
    """Parameter -> (value, what the body must hold for it)."""
    thorough: bool = False
    """Also cut streams in two at every byte; for one vendor per wire, the others are cut into
    single bytes only."""

    def endpoint(self, kind: Kind = Kind.CHAT, **more: object) -> Endpoint:
        """The endpoint as a user declares it."""
        if not more and (known := _ENDPOINTS.get((self.name, kind))) is not None:
            return known
        model = {"provider": self.provider, "name": self.model, "config": {**self.config, **more}}
        entry = {
            "name": "it",
            "endpoint_type": kind.endpoint_type,
            "model": model,
        }
        text = msgspec.json.encode({"endpoints": [entry]}).decode()  # JSON is YAML.
        parsed = parse(text, {}).endpoints["it"]
        return parsed if more else _ENDPOINTS.setdefault((self.name, kind), parsed)

    def plain(self, kind: Kind) -> Answered:
        """The simplest answer of a kind."""
        return next(a for a in self.answers if a.name == "plain" and a.kind is kind)


def as_reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply; what is not bytes becomes JSON."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Reply(
        status=status, headers={k.lower(): v for k, v in (headers or {}).items()}, body=raw
    )
