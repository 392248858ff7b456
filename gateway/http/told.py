"""What a provider says of its limits in the headers of a reply, in any vendor's spelling."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from typing import Literal, NamedTuple

_NAME = re.compile(r"(?:x-|anthropic-)?ratelimit-([a-z\-]+)\Z")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s|d)")
_UNITS = {
    "d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6,
    "ns": 1e-9,
}  # fmt: skip
_WINDOWS = {"second": 1 / 60, "minute": 1.0, "hour": 60.0, "day": 1_440.0, "month": 43_200.0}
"""In minutes."""
_PACED = {"second", "minute"}
"""Windows that a pace is made of; a day's calls may be asked for as fast as one likes."""
_EPOCH = 1e9
"""Larger numbers are points in time, not lengths."""
_MILLISECONDS = 1e12
_DAILY = {("groq", "requests")}
"""Windows that are not a minute although the name does not say so."""
_LOOK_AGAIN = 200
"""Replies after which the names are looked for anew: vendors begin, and stop, to send them."""

What = Literal["requests", "tokens"]


@dataclass(frozen=True, slots=True)
class Meter:
    """One limit, as far as it was told."""

    per_minute: float | None = None
    """None when it was not told, or is counted over hours or days."""
    remaining: float | None = None
    reset: float | None = None
    """Seconds until it is whole again."""


@dataclass(frozen=True, slots=True)
class Told:
    """All that one reply says."""

    requests: Meter | None = None
    tokens: Meter | None = None

    @property
    def patience(self) -> float | None:
        """Seconds until what is used up is there again; None when nothing is."""
        waits = [
            meter.reset
            for meter in (self.requests, self.tokens)
            if meter is not None and meter.remaining == 0 and meter.reset
        ]
        return max(waits, default=None)


class _Header(NamedTuple):
    name: str
    kind: str
    what: What
    window: str
    rank: int
    """Of two that tell the same, the lower one counts."""


class Reader:
    """Reads one endpoint's headers; which there are is looked for once, not at every reply."""

    __slots__ = ("_headers", "_left", "_vendor")

    def __init__(self, vendor: str) -> None:
        self._vendor = vendor
        self._headers: tuple[_Header, ...] = ()
        self._left = 0

    def read(self, status: int, headers: Mapping[str, str]) -> Told | None:
        """What a reply tells; None when it says nothing of limits."""
        if self._left <= 0 or status >= 400:  # noqa: PLR2004 - the classes of errors
            self._headers = tuple(_found(headers, self._vendor))
            self._left = _LOOK_AGAIN
        self._left -= 1
        if not self._headers:
            return None
        return _told(headers, self._headers)


def told_in(headers: Mapping[str, str], vendor: str = "") -> Told | None:
    """What a reply tells; None when it says nothing of limits."""
    return Reader(vendor).read(200, headers)


def sent_at(headers: Mapping[str, str]) -> float:
    """When a reply was sent, by its server's clock: what it says of moments is said by that one."""
    said = headers.get("date")
    at = _read_date(said) if said else None
    return time.time() if at is None else at


@lru_cache(maxsize=16)
def _read_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None


def seconds_of(text: str, clock: Callable[[], float] = time.time) -> float | None:
    """A length of time in any of the vendors' spellings; None when it is none.

    `6m0s`, `59.7s`, `20ms`, seconds as a number, a point in time as seconds or milliseconds since
    1970 or as RFC 3339 has it.
    """
    text = text.strip()
    parts = _PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNITS[unit] for number, unit in parts)
    try:
        number = float(text)
    except ValueError:
        return _until(text, clock)
    if not 0 <= number < float("inf"):
        return None
    if number >= _MILLISECONDS:
        return max(number / 1000 - clock(), 0.0)
    return max(number - clock(), 0.0) if number >= _EPOCH else number


def _until(text: str, clock: Callable[[], float]) -> float | None:
    try:
        point = datetime.fromisoformat(text)
    except ValueError:
        return None
    return max(point.timestamp() - clock(), 0.0) if point.tzinfo is not None else None


def _found(names: Iterable[str], vendor: str) -> Iterable[_Header]:
    for name in names:
        match = _NAME.match(name.lower())
        if match is None:
            continue
        words = set(match[1].split("-"))
        kind = next((k for k in ("limit", "remaining", "reset") if k in words), None)
        what: What | None = (
            "tokens" if words & {"tokens", "token"}
            else "requests" if words & {"requests", "request", "req"} else None
        )  # fmt: skip
        if kind is None or what is None or "output" in words:
            continue
        window = next((w for w in _WINDOWS if w in words), "minute")
        if (vendor, what) in _DAILY:
            window = "day"
        # A whole is told beside its parts, and a minute beside a day.
        yield _Header(name, kind, what, window, ("input" in words) + 2 * (window not in _PACED))


def _told(headers: Mapping[str, str], known: Iterable[_Header]) -> Told | None:
    found: dict[tuple[What, str], tuple[int, str, float]] = {}
    for header in known:
        text = headers.get(header.name)
        value = None if text is None else _value(header.kind, text, headers)
        there = found.get((header.what, header.kind))
        if value is not None and (there is None or header.rank < there[0]):
            found[header.what, header.kind] = header.rank, header.window, value
    requests, tokens = _meter(found, "requests"), _meter(found, "tokens")
    return Told(requests, tokens) if requests or tokens else None


def _meter(found: Mapping[tuple[What, str], tuple[int, str, float]], what: What) -> Meter | None:
    limit, remaining = found.get((what, "limit")), found.get((what, "remaining"))
    reset = found.get((what, "reset"))
    if limit is None and remaining is None:
        return None
    per_minute = None
    if limit is not None and limit[1] in _PACED and limit[2] > 0:
        per_minute = limit[2] / _WINDOWS[limit[1]]
    return Meter(per_minute, remaining[2] if remaining else None, reset[2] if reset else None)


def _value(kind: str, text: str, headers: Mapping[str, str]) -> float | None:
    if kind == "reset":
        return seconds_of(text, partial(sent_at, headers))
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value < float("inf") else None
