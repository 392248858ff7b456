"""Cron lines in a time zone: when they fire next, whatever the clocks do."""

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterBadDateError, croniter

from hikaku.errors import Fault, InvalidInput

_FIELDS = 5
"""Minute, hour, day of month, month, day of week: no seconds, so a slot is a minute."""


def check(cron: str, time_zone: str) -> None:
    """Refuse a cron line or a time zone that cannot be used.

    Raises:
        InvalidInput: Its fault says which of the two, and why.
    """
    try:
        ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # OSError: `Asia` is a folder
        message = f"there is no time zone {time_zone!r}; write one such as Asia/Tokyo or UTC"
        raise _fault("/time_zone", message) from error
    if len(cron.split()) != _FIELDS or not croniter.is_valid(cron):
        message = f"{cron!r} is not a cron line: minute hour day month weekday, such as 0 2 * * *"
        raise _fault("/cron", message)
    if next(_fires(cron, time_zone, datetime.now(UTC)), None) is None:
        raise _fault("/cron", f"{cron!r} names a day that never comes")


def next_fires(cron: str, time_zone: str, after: datetime, n: int) -> list[datetime]:
    """List the next `n` firings after an aware time, in UTC, ascending."""
    return list(islice(_fires(cron, time_zone, after), n))


def fires_between(cron: str, time_zone: str, first: datetime, until: datetime) -> list[datetime]:
    """List the firings from a known one to a time, both included, in UTC."""
    fires = [first] if first <= until else []
    for fire in _fires(cron, time_zone, first):
        if fire > until:
            break
        fires.append(fire)
    return fires


def _fires(cron: str, time_zone: str, after: datetime) -> Iterator[datetime]:
    line = croniter(cron, after.astimezone(ZoneInfo(time_zone)))
    last = after.astimezone(UTC)
    is_hourly = cron.split()[1].startswith("*")
    while True:
        try:
            local: datetime = line.get_next(datetime)
        except CroniterBadDateError:
            return
        # An hour that a change of clocks repeats: 01:30 has been, every 20 minutes goes on.
        is_repetition = local.fold == 1 and not is_hourly
        fire = local.astimezone(UTC)
        if fire > last and not is_repetition:
            last = fire
            yield fire


def _fault(pointer: str, message: str) -> InvalidInput:
    return InvalidInput(message, faults=[Fault(pointer=pointer, message=message)])
