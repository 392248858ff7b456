"""What goes into the gateway and what comes out, whatever the provider.

What there is one or more of for every call is a struct: made several times as fast as a frozen
dataclass, and no work for the garbage collector.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeAlias

from msgspec import Struct, field

from gateway.errors import Outcome

JSON: TypeAlias = (
    "str | int | float | bool | list[JSON] | dict[str, JSON] | Mapping[str, JSON] | None"
)
JSONObject: TypeAlias = Mapping[str, JSON]


class EndpointType(StrEnum):
    """What an endpoint does."""

    CHAT = "llm/v1/chat"
    COMPLETIONS = "llm/v1/completions"
    EMBEDDINGS = "llm/v1/embeddings"


class Message(Struct, frozen=True, kw_only=True, gc=False):
    """One message of a conversation."""

    role: str
    content: str


class ChatRequest(Struct, frozen=True, kw_only=True, gc=False):
    """A question to one endpoint."""

    endpoint: str
    messages: tuple[Message, ...]
    params: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    """Sampling parameters under OpenAI's names; they win over the endpoint's defaults."""
    substitutes: bool = False
    """Whether a fallback may answer. An evaluation must not take one model's words for another's,
    nor an answer of the past for one of today."""
    cached: bool = False
    """Whether an answer of the past will do, where the endpoint keeps them."""
    caller: str | None = None
    """Whose limits and budget count: the id of a key, never the key."""


class Usage(Struct, frozen=True, kw_only=True, gc=False):
    """Tokens of one call; None where the provider reported nothing."""

    input_tokens: int | None = None
    """All that the model read, the cached share included."""
    output_tokens: int | None = None
    """All that the model wrote, its reasoning included."""
    cached_input_tokens: int | None = None
    """Of the input: what the provider read out of its cache, at its price for that."""
    reasoning_tokens: int | None = None
    """Of the output: what the model thought and did not say."""


class Answer(Struct, frozen=True, kw_only=True, gc=False):
    """What a provider answered to one call, in OpenAI's dialect."""

    raw: bytes
    """The whole body as JSON in OpenAI's dialect, UTF-8; surfaces pass it on as it is."""
    text: str = ""
    finish_reason: str | None = None
    refusal: str | None = None
    usage: Usage = Usage()
    model: str | None = None
    """The model as the provider named it."""
    timings: Mapping[str, timedelta] = field(default_factory=dict[str, timedelta])
    """What the server says of its own parts of the work: `queue`, `inference`, `total` ..."""

    @property
    def outcome(self) -> Outcome:
        """`refused` when a filter or the model's refusal field stopped the answer, else `ok`."""
        refused = self.finish_reason == "content_filter" or self.refusal is not None
        return Outcome.REFUSED if refused else Outcome.OK


class Completion(Struct, frozen=True, kw_only=True, gc=False):
    """What a model answered to a `ChatRequest`."""

    text: str
    """The answer; of a refusal, its words."""
    finish_reason: str | None
    """`stop`, `length`, `content_filter`, `tool_calls` or the provider's own word."""
    usage: Usage
    latency: timedelta
    """Of the call that answered, without waiting and earlier attempts."""
    model: str | None
    outcome: Outcome = Outcome.OK
    """`ok` or `refused`."""
    endpoint: str | None = None
    """Who answered."""


class AttemptReport(Struct, frozen=True, kw_only=True, gc=False):
    """One HTTP call that was made, or tried."""

    number: int
    """From 1, within one `Gateway.ask`."""
    started_at: datetime
    """Aware, UTC."""
    latency: timedelta
    outcome: Outcome
    status: int | None = None
    error: str | None = None
    usage: Usage = Usage()
    endpoint: str | None = None
    """Who was asked: the endpoint of the question, a destination of a route, or a fallback."""


class Observer(Protocol):
    """Who wants to know of every attempt, and may forbid one."""

    def sending(self, number: int) -> None:
        """Called before each call; what it raises forbids the call and ends `ask`."""
        ...

    def ended(self, attempt: AttemptReport) -> None:
        """Called after each call, also a failed or cancelled one."""
        ...
