"""Writes and reads what the gateway was used for: sums by the hour, single calls by the day.

Of 10^8 calls, the sums take as many rows as there are hours x endpoints x callers x outcomes; the
single calls (about 150 bytes each) are dropped by the day.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from operator import itemgetter
from typing import Any, Literal

from sqlalchemy import Date, Row, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from hikaku.storage.tables import Job, Shard, UsageCall, UsageHour, UsagePrice

GroupBy = Literal["endpoint", "caller", "day"]
_LOCK = 0x6875_7361
"""Of the advisory lock under which partitions are opened and dropped."""
_ANSWERED = ("ok", "refused")
_FAILED = (
    Shard.n_invalid_request + Shard.n_rate_limited + Shard.n_timeout + Shard.n_provider_error
    + Shard.n_malformed
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedPrice:
    """What the tokens of a call cost when it was made; None is not known."""

    source: str
    input_usd_per_million_tokens: Decimal | None
    output_usd_per_million_tokens: Decimal | None
    cached_input_usd_per_million_tokens: Decimal | None

    @property
    def id(self) -> int:
        """The same for equal prices, in every process."""
        numbers = (
            self.input_usd_per_million_tokens,
            self.output_usd_per_million_tokens,
            self.cached_input_usd_per_million_tokens,
        )
        words = [self.source, *("" if n is None else f"{n.normalize():f}" for n in numbers)]
        digest = blake2b("\0".join(words).encode(), digest_size=8).digest()
        return int.from_bytes(digest, signed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """One call; names are empty where there is none."""

    at: datetime
    request_id: str
    caller: str
    asked: str
    endpoint: str
    outcome: str
    status: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Decimal | None
    attempts: int
    seconds: float
    provider_seconds: float
    first_byte_seconds: float | None
    streamed: bool
    cached: bool
    price: UsedPrice | None = None


@dataclass(slots=True, kw_only=True)
class Used:
    """Sums of one group."""

    group: str
    calls: int = 0
    failed: int = 0
    provider_calls: int = 0
    """HTTP calls, repeated ones included."""
    cached: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = field(default_factory=Decimal)
    cost_unknown: int = 0
    """Calls whose price or token counts are not known."""
    of_jobs: int = 0
    """Of the calls, those that jobs made."""

    @property
    def known_cost_usd(self) -> Decimal | None:
        """The cost as far as it is known; None where nothing of it is."""
        return None if self.cost_unknown and not self.cost_usd else self.cost_usd


def write(session: Session, lines: Sequence[UsageLine]) -> None:
    """Keep calls singly, and add them to the sums; their days' partitions must be open.

    A call that is kept already is not summed again: whoever does not know whether a batch was
    committed may write it once more, alone or with others.
    """
    if not lines:
        return
    fresh = _kept(session, lines)
    if not fresh:
        return
    statement = insert(UsageHour)
    sums = {
        name: getattr(UsageHour, name) + statement.excluded[name] for name in (*_HOURLY, "cost_usd")
    }
    session.execute(
        statement.on_conflict_do_update(index_elements=list(_KEY), set_=sums), _hours(fresh)
    )


def _kept(session: Session, lines: Sequence[UsageLine]) -> list[UsageLine]:
    """Keep each call, with its price; those that were not kept before."""
    ids = {line.price: line.price.id for line in lines if line.price is not None}
    if ids:
        prices = [{"id": found} | asdict(price) for price, found in ids.items()]
        prices.sort(key=itemgetter("id"))
        session.execute(insert(UsagePrice).on_conflict_do_nothing(), prices)
    names = [name for name in UsageLine.__slots__ if name != "price"]
    rows = [
        {name: getattr(line, name) for name in names}
        | {"price_id": ids[line.price] if line.price is not None else None}
        for line in lines
    ]
    statement = insert(UsageCall).on_conflict_do_nothing()
    counted = statement.execution_options(preserve_rowcount=True)
    if session.connection().execute(counted, rows).rowcount == len(rows):
        return list(lines)
    fresh = _inserted_now(session, lines)
    by_key = {(line.at, line.request_id): line for line in reversed(lines)}
    return [line for key, line in by_key.items() if key in fresh]


def _inserted_now(session: Session, lines: Sequence[UsageLine]) -> set[tuple[datetime, str]]:
    """What this transaction has kept; asked only when some of it was there, as that is dearer."""
    found = session.execute(
        select(UsageCall.at, UsageCall.request_id)
        .where(UsageCall.at.between(min(line.at for line in lines), max(line.at for line in lines)))
        .where(text("usage_call.xmin = pg_current_xact_id()::xid"))
    )
    return {(row.at, row.request_id) for row in found}


def open_days(session: Session, days: Sequence[date]) -> None:
    """Make the partitions of these days, where there are none."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    for day in days:
        following = day + timedelta(days=1)
        session.execute(
            text(
                f"create table if not exists {_partition(day)} partition of usage_call"
                f" for values from ('{day}T00:00Z') to ('{following}T00:00Z')"
            )
        )


def today(session: Session) -> date:
    """Ask the database which day it is, in UTC."""
    return session.execute(select(func.timezone("utc", func.now()).cast(Date))).scalar_one()


def forget(session: Session, *, before: date) -> int:
    """Drop the single calls of days before; how many days there were."""
    session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    known = text(
        "select inhrelid::regclass::text from pg_inherits where inhparent = 'usage_call'::regclass"
    )
    old = [name for name in session.scalars(known) if name < _partition(before)]
    for name in old:
        session.execute(text(f"drop table {name}"))
    return len(old)


def used(session: Session, since: datetime, until: datetime, by: GroupBy) -> list[Used]:
    """Sums over a time, whole hours of it, in the order of the groups' names.

    Calls of jobs count in the hour in which their shard ended.
    """
    found: dict[str, Used] = {}
    for row in session.execute(_asked(since, until, by)):
        _add(found, row, of_jobs=False)
    for row in session.execute(_of_jobs(since, until, by)):
        _add(found, row, of_jobs=True)
    return [found[name] for name in sorted(found)]


def _add(found: dict[str, Used], row: Row[Any], *, of_jobs: bool) -> None:
    name = str(row.name or "")
    one = found.setdefault(name, Used(group=name))
    one.calls += int(row.calls)
    one.failed += int(row.failed)
    one.provider_calls += int(row.attempts)
    one.cached += int(row.cached)
    one.input_tokens += int(row.input_tokens)
    one.output_tokens += int(row.output_tokens)
    one.cost_usd += row.cost_usd
    one.cost_unknown += int(row.unknown)
    one.of_jobs += int(row.calls) if of_jobs else 0


def _asked(since: datetime, until: datetime, by: GroupBy) -> Any:  # noqa: ANN401 - a statement
    hour = UsageHour
    names = {"endpoint": hour.endpoint, "caller": hour.caller, "day": _day(hour.hour)}
    failed = func.sum(hour.calls).filter(hour.outcome.not_in(_ANSWERED))
    return (
        select(
            names[by].label("name"),
            func.sum(hour.calls).label("calls"),
            func.coalesce(failed, 0).label("failed"),
            func.sum(hour.attempts).label("attempts"),
            func.sum(hour.cached).label("cached"),
            func.sum(hour.input_tokens).label("input_tokens"),
            func.sum(hour.output_tokens).label("output_tokens"),
            func.sum(hour.cost_usd).label("cost_usd"),
            func.sum(hour.n_cost_unknown).label("unknown"),
        )
        .where(hour.hour >= since, hour.hour < until)
        .group_by("name")
    )


def _of_jobs(since: datetime, until: datetime, by: GroupBy) -> Any:  # noqa: ANN401 - a statement
    day = _day(Shard.finished_at).label("day")
    shards = (  # Summed before jobs are joined: of each job, the long snapshot is read once.
        select(
            Shard.job_id,
            Shard.endpoint,
            day,
            func.sum(Shard.n_cells - Shard.n_reused).label("calls"),
            func.sum(_FAILED).label("failed"),
            func.sum(Shard.n_calls).label("attempts"),
            func.sum(Shard.n_reused).label("cached"),
            func.sum(Shard.input_tokens).label("input_tokens"),
            func.sum(Shard.output_tokens).label("output_tokens"),
            func.sum(Shard.cost_usd).label("cost_usd"),
            func.sum(Shard.n_cost_unknown).label("unknown"),
        )
        .where(Shard.finished_at >= since, Shard.finished_at < until, Shard.n_calls > 0)
        .group_by(Shard.job_id, Shard.endpoint, "day")
        .subquery()
    )
    snapshot = Job.snapshot.op("->")("endpoints").op("->")(shards.c.endpoint).op("->>")("name")
    names = {
        "endpoint": snapshot, "caller": func.concat("project:", Job.project), "day": shards.c.day,
    }  # fmt: skip
    columns = [shards.c[name] for name in _SUMS]
    return select(names[by].label("name"), *columns).join(Job, Job.id == shards.c.job_id)


_SUMS = (
    "calls", "failed", "attempts", "cached", "input_tokens", "output_tokens", "cost_usd", "unknown",
)  # fmt: skip


def _day(column: Any) -> Any:  # noqa: ANN401 - a column
    return func.to_char(func.timezone("UTC", column), "YYYY-MM-DD")


def _hours(lines: Sequence[UsageLine]) -> list[dict[str, Any]]:
    """One row per key, in the order of the keys: two writers never wait for each other in turn."""
    rows: dict[Any, dict[str, Any]] = {}
    for line in lines:
        hour = line.at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        key = hour, line.endpoint, line.caller, line.outcome
        row = rows.get(key)
        if row is None:
            row = rows[key] = {
                **dict(zip(_KEY, key, strict=True)),
                **dict.fromkeys(_HOURLY, 0),
                "cost_usd": Decimal(0),
            }
        row["calls"] += 1
        row["attempts"] += line.attempts
        row["cached"] += line.cached
        row["streamed"] += line.streamed
        row["input_tokens"] += line.input_tokens or 0
        row["output_tokens"] += line.output_tokens or 0
        row["seconds"] += line.seconds
        row["cost_usd"] += line.cost_usd or 0
        row["n_cost_unknown"] += line.cost_usd is None
    return [rows[key] for key in sorted(rows)]


_KEY = ("hour", "endpoint", "caller", "outcome")
_HOURLY = (
    "calls", "attempts", "cached", "streamed", "input_tokens", "output_tokens", "seconds",
    "n_cost_unknown",
)  # fmt: skip


def _partition(day: date) -> str:
    return f"usage_call_b{day:%Y%m%d}"
