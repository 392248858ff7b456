"""How numbers, times and foreign text are written for people."""

from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

UNKNOWN = "–"
"""Stands where nothing is known; never 0."""

_SECOND_MS = 1000
_MINUTE = 60
_HOUR = 3600
_SMALLEST_P = 0.001

# What a model answers is shown in a terminal that obeys escape codes: make them visible instead.
_CONTROLS = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    # Overrides of the writing direction could make text read as what it is not.
    **dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD),
}


def visible(text: str) -> str:
    """Replace control characters by signs that do nothing."""
    return text.translate(_CONTROLS)


def one_line(text: str | None, limit: int = 200) -> str:
    """Put text on one line, cut at `limit` characters."""
    flat = " ".join(visible(text or "").split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def number(value: float | None, *, sign: bool = False, digits: int = 3) -> str:
    """Write a score or a difference of scores."""
    if value is None:
        return UNKNOWN
    rounded = round(value, digits) + 0.0  # -0.0 is written as 0
    return f"{rounded:+.{digits}f}" if sign and rounded else f"{rounded:.{digits}f}"


def interval(low: float | None, high: float | None, *, sign: bool = False) -> str:
    """Write the two ends of an interval; unknown when one is."""
    if low is None or high is None:
        return f"[{UNKNOWN}]"
    return f"[{number(low, sign=sign, digits=2)}, {number(high, sign=sign, digits=2)}]"


def p_value(value: float | None) -> str:
    """Write a probability."""
    if value is None:
        return UNKNOWN
    return f"< {_SMALLEST_P}" if value < _SMALLEST_P else f"{value:.3f}"


def percent(value: float | None) -> str:
    """Write a share; 100 % only when it is all."""
    if value is None:
        return UNKNOWN
    shown = f"{value * 100:.1f}"
    return f"{'> 99.9' if shown == '100.0' and value < 1 else shown} %"


def milliseconds(value: float | None) -> str:
    """Write a latency."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f} ms" if value < _SECOND_MS else f"{value / _SECOND_MS:.2f} s"


def seconds(value: float | None) -> str:
    """Write a duration."""
    if value is None:
        return UNKNOWN
    if value < _MINUTE:
        return f"{value:.0f} s"
    minutes, rest = divmod(round(value), _MINUTE)
    if value < _HOUR:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes:02} min"


def count(value: int | None) -> str:
    """Write a number of things."""
    return UNKNOWN if value is None else f"{value:,}"


def money(value: str | None) -> str:
    """Write an amount of USD, without digits that say nothing."""
    if value is None:
        return UNKNOWN
    return f"{Decimal(value).normalize():f}"


def instant(value: str | None, zone: str | None = None) -> str:
    """Write an RFC 3339 time in the reader's own zone, or in the one named if it is known here."""
    if value is None:
        return UNKNOWN
    try:
        there = ZoneInfo(zone) if zone else None
    except (ZoneInfoNotFoundError, ValueError):
        there = None
    local = datetime.fromisoformat(value).astimezone(there)
    return local.strftime("%Y-%m-%d %H:%M:%S" + (" %Z" if there else ""))


def elapsed(start: str | None, end: str | None) -> float | None:
    """Seconds between two RFC 3339 times; to now when the second is not known."""
    if start is None:
        return None
    finish = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return (finish - datetime.fromisoformat(start)).total_seconds()


def size(value: int) -> str:
    """Write a number of bytes."""
    if value < 1 << 10:
        return f"{value} B"
    return f"{value / (1 << 10):,.1f} KiB" if value < 1 << 20 else f"{value / (1 << 20):,.1f} MiB"
