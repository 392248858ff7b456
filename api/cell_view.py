"""How a recorded cell looks from outside."""

from typing import Any

from pydantic import Field

from api.money_view import money
from api.wire import Out
from hikaku.errors import Fault, InvalidInput, UnknownName
from hikaku.jobs import Outcome
from hikaku.specs import Snapshot
from hikaku.storage.results import CellKey, ReadCell

_MOST = CellKey(2**15 - 1, 2**31 - 1, 2**15 - 1)


class ScoreOut(Out):
    """One scorer's verdict; no value says why, and is never a zero."""

    value: float | None = Field(examples=[1.0])
    unscored: str | None
    detail: str | None


class CellOut(Out):
    """One (row, endpoint, repeat) of a job and how it ended."""

    id: str = Field(description="endpoint.row.repeat, by position.", examples=["0.12.0"])
    row: int
    row_key: str
    endpoint: str = Field(examples=["qwen-coder"])
    repeat: int
    outcome: Outcome
    completion: str | None = Field(examples=["赤です。"])
    finish_reason: str | None = Field(examples=["stop"])
    input_tokens: int | None
    output_tokens: int | None
    latency_ms: float | None = Field(description="Of the answering call alone.")
    cost_usd: str | None = Field(description="null when not known.", examples=["0.000012"])
    error: str | None
    attempts: int
    reused: bool
    variables: dict[str, Any] = Field(examples=[{"object": "りんご", "expected": "赤"}])
    scores: dict[str, ScoreOut]


def cell_out(cell: ReadCell, snapshot: Snapshot) -> CellOut:
    """Show one cell."""
    return CellOut(
        id=".".join(str(part) for part in cell.key),
        row=cell.key.row,
        row_key=cell.row_key,
        endpoint=snapshot.endpoints[cell.key.endpoint].name,
        repeat=cell.key.repeat,
        outcome=cell.outcome,
        completion=cell.completion,
        finish_reason=cell.finish_reason,
        input_tokens=cell.input_tokens,
        output_tokens=cell.output_tokens,
        latency_ms=cell.latency_ms,
        cost_usd=None if cell.cost_usd is None else money(cell.cost_usd),
        error=cell.error,
        attempts=cell.n_attempts,
        reused=cell.reused,
        variables=cell.variables,
        scores={
            snapshot.scorers[score.scorer].name: ScoreOut(
                value=score.value, unscored=score.unscored, detail=score.detail
            )
            for score in cell.scores
        },
    )


def cell_key(text: str) -> CellKey:
    """Read the id of a cell back.

    Raises:
        InvalidInput: It is none.
    """
    parts = text.split(".")
    if len(parts) == len(_MOST) and all(part.isascii() and part.isdigit() for part in parts):
        key = CellKey(*(int(part[:11]) for part in parts))
        if all(part <= most for part, most in zip(key, _MOST, strict=True)):
            return key
    message = "is not the id of a cell, such as 0.12.0"
    raise InvalidInput(f"after {message}", faults=[Fault(pointer="query after", message=message)])


def endpoint_number(snapshot: Snapshot, name: str) -> int:
    """Give the position of an endpoint in its job.

    Raises:
        UnknownName: The job has none with this name.
    """
    names = [endpoint.name for endpoint in snapshot.endpoints]
    if name in names:
        return names.index(name)
    message = f"the job has no endpoint {name!r}; it has: {', '.join(names)}"
    raise UnknownName(message, faults=[Fault(pointer="query endpoint", message=message)])
