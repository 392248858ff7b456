"""What a provider's HTTP status and error body mean: one mapping for all of them."""

from collections.abc import Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from gateway.errors import (
    AccessDenied,
    ContentRefused,
    EndpointUnavailable,
    GatewayError,
    InvalidRequest,
    QuotaExhausted,
    RateLimited,
    TimedOut,
    Unavailable,
)
from gateway.http.told import sent_at, told_in

_QUOTA_CODES = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "quota_exceeded"}
)
_QUOTA_WORDS = ("credit balance is too low", "insufficient balance", "insufficient credits")
_FILTER_CODES = frozenset({"content_filter", "content_policy_violation", "responsible_ai_policy"})
_RUSH_CODES = frozenset(
    {"overloaded", "overloaded_error", "rate_limit_exceeded", "rate_limit_error"}
)
_LONGEST_RESET = 60.0
_BEYOND = 600
_LONGEST_EXCERPT = 500
"""Characters of a body that is no JSON, quoted in a message."""


class _Error(msgspec.Struct):
    param: str | None = None


class _Refusal(msgspec.Struct):
    error: _Error


_AT_FAULT = msgspec.json.Decoder(_Refusal)


def check(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Raise what a reply means, unless it is a success."""
    if not 200 <= status < 300:  # noqa: PLR2004 - the class of successes
        raise failure_of(status, headers, body)


def failure_of(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """The error that a reply without success means."""
    message, code = _explanation(body)
    kind = QuotaExhausted if _is_broke(message) else _kind(status, code)
    failure = kind(
        message or f"HTTP {status} without a word of explanation",
        # HTTP ends at 599: what somebody invents beyond cannot be passed on.
        status=status if status < _BEYOND else None,
        retry_after=_patience(status, headers),
        code=code,
    )
    failure.param = _at_fault(body) if isinstance(failure, InvalidRequest) else None
    return failure


def _is_broke(message: str) -> bool:
    """Whether words tell of an empty account; Anthropic's code says "invalid request"."""
    low = message.lower()
    return any(words in low for words in _QUOTA_WORDS)


def _patience(status: int, headers: Mapping[str, str]) -> timedelta | None:
    """How long to wait: as asked, else until what is used up is there again."""
    asked = retry_after(headers)
    if asked is not None or status != 429:  # noqa: PLR2004 - too many requests
        return asked
    told = told_in(headers)
    patience = told.patience if told is not None else None
    # Until all of it is there again; some of it is there before.
    return timedelta(seconds=min(patience, _LONGEST_RESET)) if patience is not None else None


def event_failure(event: bytes) -> GatewayError:
    """The error that an error event inside a stream means; its HTTP status was 200."""
    message, code = _explanation(event)
    status = _status_in(event) or (429 if _is_rush(code, message) else 502)
    # TGI's chat stream calls an overload 422; its words say otherwise.
    status = 429 if "is overloaded" in message else status
    return _kind(status, code)(message or "the stream ended in an error", status=status, code=code)


def _is_rush(code: str | None, message: str) -> bool:
    """Whether an event without a status tells of too many calls."""
    return code in _RUSH_CODES or "overloaded" in message


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """How long the provider asks to wait; None when it does not say."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return timedelta(milliseconds=max(float(milliseconds), 0))
        value = (headers.get("retry-after") or "").strip()
        if not value:
            return None
        if value[0].isdigit():
            return timedelta(seconds=float(value))
        until = parsedate_to_datetime(value).timestamp()
        return timedelta(seconds=max(until - sent_at(headers), 0.0))
    except (ValueError, OverflowError):
        return None


def _kind(status: int, code: str | None) -> type[GatewayError]:  # noqa: C901, PLR0911 - a table
    if code in _QUOTA_CODES:
        return QuotaExhausted
    if code in _FILTER_CODES:
        return ContentRefused
    match status:
        case 402:
            return QuotaExhausted
        case 401 | 403:
            return AccessDenied
        case 408 | 504 | 524:
            return TimedOut
        case 429 | 498 | 529:  # 498 is Groq's word for too little capacity
            return RateLimited
        case 409 | 424 | 425:  # a conflict passes; 424 is TGI's failed generation
            return Unavailable
        case 501 | 505:
            return InvalidRequest
        case _ if status >= 500:  # noqa: PLR2004 - the class of server errors
            return Unavailable
        case _ if status < 400:  # noqa: PLR2004 - redirects are not followed: they leak keys
            return EndpointUnavailable
        case _:
            return InvalidRequest


def _explanation(body: bytes) -> tuple[str, str | None]:
    """Message and code of an error body, in any of the vendors' shapes."""
    try:
        parsed: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body.decode("utf-8", "replace").strip()[:_LONGEST_EXCERPT], None
    if not isinstance(parsed, dict):
        return str(parsed)[:_LONGEST_EXCERPT], None
    error = parsed.get("error", parsed)
    if isinstance(several := parsed.get("errors"), list) and several:
        error = several[0]  # IBM's shape.
    if isinstance(error, str):
        return error, _text(parsed.get("error_type") or parsed.get("code"))
    if not isinstance(error, dict):
        error = parsed
    message = error.get("message") or error.get("detail") or parsed.get("detail") or ""
    kind = error.get("type")
    code = error.get("code") or kind or error.get("error_code")
    if isinstance(kind, str) and kind in _QUOTA_CODES:
        code = kind
    return (message if isinstance(message, str) else str(message)), _text(code)


def _at_fault(body: bytes) -> str | None:
    """The parameter that OpenAI's error object names."""
    try:
        return _AT_FAULT.decode(body).error.param
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _status_in(event: bytes) -> int | None:
    parsed: Any = msgspec.json.decode(event)
    error = parsed.get("error") if isinstance(parsed, dict) else None
    if isinstance(error, dict):
        for key in ("http_status_code", "status", "code"):
            if isinstance(found := error.get(key), int) and 400 <= found < 600:  # noqa: PLR2004
                return found
    return None


def _text(value: object) -> str | None:
    return str(value) if value is not None else None
