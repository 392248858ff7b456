"""What a call has cost, and the most that it can cost; what is not known is None, never 0."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import msgspec

from hikaku.specs import EndpointIdentity, Snapshot, SnapshotEndpoint

_MILLION = Decimal(1_000_000)
_ZERO = Decimal(0)

MOST_TOKENS = 2**31 - 1
"""A larger count is a provider's nonsense, and as good as none."""

_OUTPUT_LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")
"""What vendors call the most that may be written; thinking counts."""

TEMPLATE_TOKENS = 128
"""Set aside for what a chat template adds: a system prompt of its own, and its marks."""

MESSAGE_TOKENS = 16
"""Set aside for the marks around each message."""

_WHOLE_REQUESTS = (
    "each row of whole requests says itself how much may be written, so no budget can hold them: "
    "submit rows and a prompt instead"
)

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Usage(Protocol):
    """Tokens of one call, as a gateway reports them."""

    @property
    def input_tokens(self) -> int | None: ...  # noqa: D102
    @property
    def output_tokens(self) -> int | None: ...  # noqa: D102
    @property
    def cached_input_tokens(self) -> int | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What the tokens of one endpoint cost, in USD each."""

    input: Decimal | None
    output: Decimal | None
    """Thinking is output: vendors bill it so, and count it so."""
    cached_input: Decimal | None
    """Of input read from the vendor's cache."""

    def cost(self, usage: Usage) -> Decimal | None:
        """Price a call; None when a price or a count is not known."""
        read, written = usage.input_tokens, usage.output_tokens
        if read is None or written is None:
            return None
        if not (0 <= read <= MOST_TOKENS and 0 <= written <= MOST_TOKENS):
            return None
        cached = usage.cached_input_tokens or 0
        cached = cached if 0 < cached <= read else 0
        total = _ZERO
        for price, tokens in (
            (self.input, read - cached),
            (self.cached_input, cached),
            (self.output, written),
        ):
            if not tokens:
                continue
            if price is None:
                return None
            total += price * tokens
        return total


def tariff(endpoint: EndpointIdentity) -> Tariff | None:
    """Give the prices of an endpoint; None when none is known."""
    prices = (endpoint.input_usd_per_million_tokens, endpoint.output_usd_per_million_tokens)
    if prices == (None, None):
        return None
    cached = endpoint.cached_input_usd_per_million_tokens
    return Tariff(
        input=_per_token(prices[0]),
        output=_per_token(prices[1]),
        cached_input=_per_token(cached if cached is not None else prices[0]),
    )


def _per_token(per_million: Decimal | None) -> Decimal | None:
    return None if per_million is None else per_million / _MILLION


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """The most that a call of one endpoint can cost, by the length of its messages."""

    per_input_token: Decimal
    fixed: Decimal
    """All that does not depend on the messages: the longest answer, the template, the settings."""

    def of(self, contents: Sequence[str]) -> Decimal:
        """Bound the cost of messages. A token is at least one byte of UTF-8, in every tokenizer."""
        tokens = sum(len(text.encode("utf-8", "surrogatepass")) for text in contents)
        return self.fixed + self.per_input_token * (tokens + MESSAGE_TOKENS * len(contents))


def ceiling(endpoint: SnapshotEndpoint) -> Ceiling | str:
    """Give the ceiling of an endpoint's calls, or say in a sentence what is missing for it."""
    prices = tariff(endpoint)
    if prices is None or prices.input is None or prices.output is None:
        return (
            f"endpoint {endpoint.name!r} has no known price, so no budget can hold it: give it a "
            "`price:` with input and output in the gateway's file"
        )
    written = most_written(endpoint)
    if written is None:
        return (
            f"nothing bounds what endpoint {endpoint.name!r} may write, so no budget can hold it: "
            "give `max_tokens` in `params`"
        )
    per_input = max(prices.input, prices.cached_input or _ZERO)
    settings = {"job": endpoint.params.model_dump(exclude_none=True), "file": _defaults(endpoint)}
    return Ceiling(
        per_input_token=per_input,
        fixed=prices.output * written + per_input * (TEMPLATE_TOKENS + len(_encode(settings))),
    )


def unbounded(snapshot: Snapshot, endpoint: SnapshotEndpoint) -> str | None:
    """Say why no budget can hold the calls of a job to an endpoint; None when one can."""
    if snapshot.prompt.request is not None:
        return _WHOLE_REQUESTS
    most = ceiling(endpoint)
    return most if isinstance(most, str) else None


def most_written(endpoint: SnapshotEndpoint) -> int | None:
    """Count the tokens that one call can make an endpoint write; None when nothing bounds it."""
    given: Mapping[str, Any] = _defaults(endpoint) | endpoint.params.model_dump(exclude_none=True)
    limits = [given[name] for name in _OUTPUT_LIMITS if _is_count(given.get(name))]
    longest = max(limits, default=endpoint.max_output_tokens)
    answers = max(
        (given[name] for name in ("n", "best_of") if _is_count(given.get(name))), default=1
    )
    return None if longest is None else longest * answers


def _defaults(endpoint: EndpointIdentity) -> dict[str, Any]:
    """Read what the gateway's file gives the endpoint to go by; a request's own words win."""
    found = endpoint.settings.get("params")
    return dict(found) if isinstance(found, Mapping) else {}


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
