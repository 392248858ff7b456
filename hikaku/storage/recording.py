"""Records cells in bulk, once each, and counts them in the same transaction.

The usual batch is new to the tables and goes in by COPY. A batch that meets a row that is already
there (a spool read again, a zombie's answers, a retry) takes the slow way through staging tables,
where the first result of a round stays and a retry's result replaces the failure before it.

Source of the costs: 2.8 us a row on the client by COPY binary, 10-25 us through staging.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

from psycopg import Connection, Cursor, sql
from psycopg.errors import UniqueViolation
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.failpoints import Point, reach
from hikaku.jobs import (
    RETRIED_OUTCOMES,
    Attempt,
    AttemptOutcome,
    CellAddress,
    CellCalls,
    CellRecord,
    Outcome,
)
from hikaku.storage import responses, summaries
from hikaku.storage.budgets import Charges
from hikaku.storage.connection import driver

_CELL = {
    "bucket": "int2", "job_id": "uuid", "endpoint": "int2", "row": "int4", "repeat": "int2",
    "round": "int2", "shard_id": "int8", "epoch": "int4", "outcome": "text", "completion": "text",
    "finish_reason": "text", "input_tokens": "int4", "output_tokens": "int4",
    "latency_ms": "float4", "cost_usd": "numeric", "error": "text", "reused": "bool",
    "n_attempts": "int2", "recorded_at": "timestamptz",
}  # fmt: skip
_ATTEMPT = {
    "bucket": "int2", "job_id": "uuid", "endpoint": "int2", "row": "int4", "repeat": "int2",
    "round": "int2", "epoch": "int4", "number": "int2", "shard_id": "int8", "outcome": "text",
    "started_at": "timestamptz", "latency_ms": "float4", "status": "int2", "error": "text",
    "input_tokens": "int4", "output_tokens": "int4", "cost_usd": "numeric",
    "reserved_usd": "numeric",
}  # fmt: skip
_SCORE = {
    "bucket": "int2", "job_id": "uuid", "scorer": "int2", "endpoint": "int2", "row": "int4",
    "repeat": "int2", "value": "float8", "unscored": "text", "detail": "text",
}  # fmt: skip

Columns = dict[str, str]
Line = tuple[object, ...]
CellKey = tuple[object, ...]
"""bucket, job, endpoint, row, repeat: as in the primary key of `cell_result`."""

Tally = Counter[str]
"""What a batch adds to one shard's counters, by column."""


def record(session: Session, records: Sequence[CellRecord]) -> None:
    """Record cells, their attempts and their scores, and count them on their shards.

    Safe to repeat: what is already there stays and is not counted again. The caller commits.
    """
    if not records:
        return
    connection = driver(session)
    is_first_round = all(record.address.round == 0 for record in records)
    with connection.cursor() as cursor:
        if not (is_first_round and _by_copy(connection, cursor, records)):
            for distinct in _without_repetition(records):
                _by_staging(cursor, distinct)
        _remember(cursor, records)


def _by_copy(
    connection: Connection[object], cursor: Cursor[object], records: Sequence[CellRecord]
) -> bool:
    try:
        with connection.transaction():
            _copy(cursor, "cell_result", _CELL, map(_cell_line, records))
            reach(Point.IN_COPY)
            _copy(cursor, "attempt", _ATTEMPT, _attempt_lines(records))
            _copy(cursor, "score", _SCORE, _score_lines(records))
            responses.copy(cursor, records)
            _add(cursor, _tallies(records))
            _charges(records).book(cursor)
            reach(Point.AFTER_COPY_BEFORE_COMMIT)
    except UniqueViolation:
        return False
    return True


def _by_staging(cursor: Cursor[object], records: Sequence[CellRecord]) -> None:
    # One recorder at a time per shard: what `cell_result` held before is read, then replaced.
    shards = sorted({record.address.shard_id for record in records})
    cursor.execute("select id from shard where id = any(%s) order by id for update", [shards])
    _stage(cursor, "cell_result", _CELL, map(_cell_line, records))
    _stage(cursor, "attempt", _ATTEMPT, _attempt_lines(records))
    _stage(cursor, "score", _SCORE, _score_lines(records))
    replaced = _replaced(cursor)
    landed = _land_cells(cursor)
    tallies = _tallies(
        [record for record in records if _key(record.address) in landed], attempts=False
    )
    for key, (shard_id, outcome, reused) in replaced.items():
        if key in landed:
            tallies.setdefault(shard_id, Counter())[f"n_{outcome}"] -= 1
            tallies[shard_id]["n_reused"] -= int(reused)
    for shard_id, tally in _land_attempts(cursor, landed).items():
        tallies.setdefault(shard_id, Counter()).update(tally)
    _land_scores(cursor, landed)
    responses.land(cursor, records, landed)
    summaries.forget(cursor, {*shards, *(shard_id for shard_id, _, _ in replaced.values())})
    _add(cursor, tallies)


def _without_repetition(records: Sequence[CellRecord]) -> list[list[CellRecord]]:
    """Cut a batch so that no cell is in a part twice: a statement may not touch a row twice.

    Earlier rounds come first.
    """
    parts: list[dict[CellKey, CellRecord]] = []
    for record in sorted(records, key=lambda record: record.address.round):
        key = _key(record.address)
        part = next((part for part in parts if key not in part), None)
        if part is None:
            parts.append(part := {})
        part[key] = record
    return [list(part.values()) for part in parts]


def _key(address: CellAddress) -> CellKey:
    job = _job(address.job_id)
    return (address.bucket, job, address.endpoint, address.row, address.repeat)


@lru_cache(maxsize=256)
def _job(job_id: str) -> UUID:
    """Read the id of a job: there are few of them, and each stands in every line."""
    return ids.decode(ids.JOB, job_id)


_REPLACED = """
select c.bucket, c.job_id, c.endpoint, c.row, c.repeat, c.shard_id, c.outcome, c.reused
  from cell_result c join staged_cell_result s using (bucket, job_id, endpoint, row, repeat)
 where c.round < s.round
"""


def _replaced(cursor: Cursor[object]) -> dict[CellKey, tuple[int, str, bool]]:
    rows: Iterable[tuple[object, ...]] = cursor.execute(_REPLACED).fetchall()  # type: ignore[assignment]
    return {row[:5]: (int(str(row[5])), str(row[6]), bool(row[7])) for row in rows}


def _land_cells(cursor: Cursor[object]) -> set[CellKey]:
    key = {"bucket", "job_id", "endpoint", "row", "repeat"}
    statement = sql.SQL(
        "insert into cell_result as c ({columns}) select {columns} from staged_cell_result"
        " on conflict (bucket, job_id, endpoint, row, repeat) do update set {new}"
        " where c.round < excluded.round and c.outcome = any(%s)"
        " returning bucket, job_id, endpoint, row, repeat"
    ).format(
        columns=_names(_CELL),
        new=sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name))
            for name in _CELL
            if name not in key
        ),
    )
    failed = [str(outcome) for outcome in RETRIED_OUTCOMES]
    rows: Iterable[tuple[object, ...]] = cursor.execute(statement, [failed]).fetchall()  # type: ignore[assignment]
    return set(rows)


def _land_attempts(cursor: Cursor[object], landed: set[CellKey] | None = None) -> dict[int, Tally]:
    """Add the staged calls that are new; an answer for a cell that has not landed came second."""
    statement = sql.SQL(
        "insert into attempt ({columns}) select {columns} from staged_attempt"
        " on conflict do nothing"
        " returning shard_id, outcome, input_tokens, output_tokens, cost_usd,"
        " epoch, reserved_usd, bucket, job_id, endpoint, row, repeat"
    ).format(columns=_names(_ATTEMPT))
    tallies: dict[int, Tally] = {}
    charges = Charges()
    rows: Iterable[
        tuple[int, str, int | None, int | None, Decimal | None, int, Decimal | None, *CellKey]
    ]
    rows = cursor.execute(statement).fetchall()  # type: ignore[assignment]
    for shard_id, ended, input_tokens, output_tokens, cost, epoch, reserved, *key in rows:
        tally, outcome = tallies.setdefault(shard_id, Counter()), AttemptOutcome(ended)
        _count_call(tally, outcome, input_tokens, output_tokens, cost)
        is_second = landed is not None and tuple(key) not in landed
        tally["n_calls_unknown"] += int(is_second and outcome in _ANSWERS)
        if reserved is not None:
            charges.add((shard_id, epoch), outcome, cost, reserved)
    charges.book(cursor)
    return tallies


def _land_scores(cursor: Cursor[object], landed: set[CellKey]) -> None:
    keys = [list(column) for column in zip(*landed, strict=True)] or [[], [], [], [], []]
    cursor.execute(
        sql.SQL(
            "insert into score ({columns}) select {columns} from staged_score s"
            " join unnest(%s::int2[], %s::uuid[], %s::int2[], %s::int4[], %s::int2[])"
            " as landed(bucket, job_id, endpoint, row, repeat)"
            " using (bucket, job_id, endpoint, row, repeat) on conflict do nothing"
        ).format(columns=_names(_SCORE)),
        keys,
    )


def _stage(cursor: Cursor[object], table: str, columns: Columns, lines: Iterable[Line]) -> None:
    staged = f"staged_{table}"
    cursor.execute(
        sql.SQL("create temp table if not exists {staged} (like {table}) on commit drop").format(
            staged=sql.Identifier(staged), table=sql.Identifier(table)
        )
    )
    cursor.execute(sql.SQL("delete from {}").format(sql.Identifier(staged)))
    _copy(cursor, staged, columns, lines)


def _copy(cursor: Cursor[object], table: str, columns: Columns, lines: Iterable[Line]) -> None:
    statement = f"copy {table} ({', '.join(map(_quoted, columns))}) from stdin (format binary)"
    with cursor.copy(statement.encode()) as copy:
        copy.set_types(list(columns.values()))
        for line in lines:
            copy.write_row(line)


def _quoted(name: str) -> str:
    """Quote a column of ours: `row` is a word of SQL."""
    return f'"{name}"'


def _names(columns: Columns) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def _cell_line(record: CellRecord) -> Line:
    address = record.address
    return (
        *_key(address), address.round, address.shard_id, address.epoch, record.outcome.value,
        record.completion, record.finish_reason, record.input_tokens, record.output_tokens,
        record.latency_ms, record.cost_usd, record.error, record.reused, len(record.attempts),
        record.recorded_at,
    )  # fmt: skip


def _attempt_lines(cells: Iterable[CellRecord | CellCalls]) -> Iterable[Line]:
    for cell in cells:
        for attempt in cell.attempts:
            yield _attempt_line(cell.address, attempt)


def _attempt_line(address: CellAddress, attempt: Attempt) -> Line:
    return (
        *_key(address), address.round, address.epoch, attempt.number, address.shard_id,
        attempt.outcome.value, attempt.started_at, attempt.latency_ms, attempt.status,
        attempt.error, attempt.input_tokens, attempt.output_tokens, attempt.cost_usd,
        attempt.reserved_usd,
    )  # fmt: skip


def _score_lines(records: Iterable[CellRecord]) -> Iterable[Line]:
    for record in records:
        bucket, job, *cell = _key(record.address)
        for score in record.scores:
            yield (bucket, job, score.scorer, *cell, score.value, score.unscored, score.detail)


def _tallies(records: Iterable[CellRecord], *, attempts: bool = True) -> dict[int, Tally]:
    tallies: dict[int, Tally] = {}
    for record in records:
        tally = tallies.setdefault(record.address.shard_id, Counter())
        tally[_COUNTERS[record.outcome]] += 1
        tally["n_reused"] += int(record.reused)
        for attempt in record.attempts if attempts else ():
            _count_call(
                tally,
                attempt.outcome,
                attempt.input_tokens,
                attempt.output_tokens,
                attempt.cost_usd,
            )
    return tallies


_ANSWERS = frozenset({AttemptOutcome.OK, AttemptOutcome.REFUSED})
"""What a cell needs once: another of these was bought twice."""


def _charges(records: Iterable[CellRecord]) -> Charges:
    """Collect what calls cost the budgets that hold them; of most jobs, nothing."""
    charges = Charges()
    for record in records:
        for attempt in record.attempts:
            if attempt.reserved_usd is not None:
                claim = (record.address.shard_id, record.address.epoch)
                charges.add(claim, attempt.outcome, attempt.cost_usd, attempt.reserved_usd)
    return charges


def _count_call(
    tally: Tally,
    outcome: AttemptOutcome,
    input_tokens: int | None,
    output_tokens: int | None,
    cost: Decimal | None,
) -> None:
    tally["n_calls"] += 1
    tally["n_calls_unknown"] += int(outcome is AttemptOutcome.UNKNOWN)
    tally["input_tokens"] += input_tokens or 0
    tally["output_tokens"] += output_tokens or 0
    if cost is not None:
        tally["cost_usd"] += cost  # type: ignore[assignment]  # the one counter that is money
    else:
        tally["n_cost_unknown"] += int(outcome.may_be_billed)


_COUNTERS = {outcome: f"n_{outcome}" for outcome in Outcome}
"""Column of a shard that counts its cells of an outcome."""

_COUNTS = (
    *_COUNTERS.values(),
    "n_reused", "n_calls", "n_calls_unknown", "n_cost_unknown", "input_tokens", "output_tokens",
    "cost_usd",
)  # fmt: skip

_ADD = f"""
update shard set {", ".join(f"{name} = shard.{name} + added.{name}" for name in _COUNTS)}
  from (select * from unnest(%s::int8[], {", ".join(["%s::numeric[]"] * len(_COUNTS))})
            as t(shard_id, {", ".join(_COUNTS)}) order by shard_id) added
 where shard.id = added.shard_id
"""  # noqa: S608 - names of columns


def _add(cursor: Cursor[object], tallies: dict[int, Tally]) -> None:
    """Add to the counters of all shards of a batch, in one statement that stays prepared."""
    changed = sorted((shard, tally) for shard, tally in tallies.items() if any(tally.values()))
    if changed:
        columns = [[shard for shard, _ in changed]]
        columns += [[tally[name] for _, tally in changed] for name in _COUNTS]
        # As text: lists would be sent as the smallest type that holds them, each a new statement.
        cursor.execute(_ADD, [f"{{{','.join(map(str, column))}}}" for column in columns])


def add_calls(session: Session, cells: Sequence[CellCalls]) -> None:
    """Add the calls of cells that were not settled; safe to repeat. The caller commits."""
    if not cells:
        return
    connection = driver(session)
    with connection.cursor() as cursor:
        _stage(cursor, "attempt", _ATTEMPT, _attempt_lines(cells))
        _add(cursor, _land_attempts(cursor))


def _remember(cursor: Cursor[object], records: Sequence[CellRecord]) -> None:
    lines = [
        (record.request_hash, *_key(record.address))
        for record in records
        if record.request_hash is not None and record.outcome.is_answered and not record.reused
    ]
    if not lines:
        return
    cursor.execute(
        "insert into recorded_completion (request_hash, bucket, job_id, endpoint, row, repeat)"
        " select * from unnest(%s::bytea[], %s::int2[], %s::uuid[], %s::int2[], %s::int4[],"
        " %s::int2[]) order by 1 on conflict do nothing",
        [list(column) for column in zip(*lines, strict=True)],
    )
