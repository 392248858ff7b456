"""Comparisons: endpoints or jobs held against a baseline, on the same rows."""

import importlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import Query
from pydantic import Field

from api.bodies import printable
from api.dependencies import ContextDep
from api.money_view import money
from api.wire import JOB_EXAMPLE, Out, problems, resource
from hikaku import ids
from hikaku.errors import Fault, InvalidInput, NotFound, UnknownName
from hikaku.storage import jobs

if TYPE_CHECKING:
    from hikaku.comparison import Column, Comparison, ScoreDifference, ScoreSummary

router = resource("/comparisons", "comparisons")

_MOST_JOBS = 20


class SummaryOut(Out):
    """The mean of a column under one scorer."""

    n: int = Field(description="Rows scored.")
    cells: int = Field(description="Cells scored.")
    coverage: float = Field(description="Scored cells in parts of the planned ones.")
    mean: float | None = Field(description="null when nothing was scored; never 0 for that.")
    low: float | None
    high: float | None
    method: str | None = Field(examples=["wilson"])


class DifferenceOut(Out):
    """How much higher a column scores than the baseline, over the rows scored in both."""

    pairs: int
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    method: str | None
    wins: int
    losses: int
    ties: int


class LatencyOut(Out):
    """Of the answering calls, without waits and retries; reused completions left out."""

    p50: float | None
    p95: float | None


class ColumnTokens(Out):
    """Tokens; null where no provider reported any."""

    input: int | None
    output: int | None


class ColumnOut(Out):
    """One endpoint of one job."""

    job: str = Field(examples=[JOB_EXAMPLE])
    endpoint: str = Field(examples=["qwen-coder"])
    model: str | None
    cells: int = Field(description="Planned.")
    outcomes: dict[str, int] = Field(examples=[{"ok": 58, "timeout": 2}])
    scores: dict[str, SummaryOut]
    latency_ms: LatencyOut
    tokens: ColumnTokens
    cost_usd: str | None
    versus_baseline: dict[str, DifferenceOut] | None


class BaselineOut(Out):
    """What the others are held against."""

    job: str
    endpoint: str


class WarningOut(Out):
    """What a reader must know before trusting the figures."""

    code: str = Field(examples=["unequal_coverage"])
    message: str


class ComparisonOut(Out):
    """Columns against a baseline."""

    baseline: BaselineOut
    confidence: float
    columns: list[ColumnOut]
    warnings: list[WarningOut]


JobIds = Annotated[
    str,
    Query(
        alias="jobs",
        min_length=1,
        max_length=_MOST_JOBS * 40,
        description=f"Up to {_MOST_JOBS} job ids, with commas between them.",
        examples=[JOB_EXAMPLE],
    ),
]
Baseline = Annotated[
    str | None,
    Query(
        max_length=300,
        description="`job:endpoint`, or an endpoint; the first job's baseline if left out.",
        examples=["qwen-coder"],
    ),
]


@router.get("", summary="Compare endpoints and jobs", responses=problems(HTTPStatus.NOT_FOUND))
def compare(
    context: ContextDep,
    job_ids: JobIds,
    baseline: Baseline = None,
    confidence: Annotated[float, Query(ge=0.5, le=0.9999)] = 0.95,
) -> ComparisonOut:
    """Holds every endpoint of the jobs against a baseline, row by row, with intervals and tests.

    A failed cell has no score: it lowers the coverage and never the mean.
    """
    # `make_ready` has imported them already, unless this comes in the first seconds.
    from hikaku import comparison  # noqa: PLC0415
    from hikaku.storage import comparisons  # noqa: PLC0415

    wanted = _ids(job_ids)
    with context.sessions() as session:
        found = [jobs.get(session, job_id) for job_id in wanted]
        own = jobs.snapshot(found[0]).baseline
        base = f"{wanted[0]}:{own}" if baseline is None else baseline
        keys: dict[str, comparisons.RowKeys] = {}
        columns = [c for job in found for c in comparisons.column_scores(session, job, keys)]
        try:
            return _out(comparison.compare(columns, baseline=base, confidence=confidence))
        except UnknownName as error:
            raise UnknownName(str(error), faults=[_fault("baseline", str(error))]) from error


def make_ready() -> None:
    """Import numpy and scipy, which the start of the API does not wait for."""
    importlib.import_module("hikaku.storage.comparisons")


def _ids(text: str) -> list[str]:
    wanted = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not 1 <= len(wanted) <= _MOST_JOBS:
        message = f"names {len(wanted)} jobs; give 1 to {_MOST_JOBS}"
        raise InvalidInput(message, faults=[_fault("jobs", message)])
    for job_id in wanted:
        try:
            ids.decode(ids.JOB, job_id)
        except ValueError as error:
            raise NotFound(f"there is no job {printable(job_id)!r}") from error
    return wanted


def _fault(parameter: str, message: str) -> Fault:
    return Fault(pointer=f"query {parameter}", message=message)


def _out(found: "Comparison") -> ComparisonOut:
    return ComparisonOut(
        baseline=BaselineOut(job=found.baseline_job, endpoint=found.baseline_endpoint),
        confidence=found.confidence,
        columns=[_column(column) for column in found.columns],
        warnings=[WarningOut(code=w.code, message=w.message) for w in found.warnings],
    )


def _column(column: "Column") -> ColumnOut:
    versus = column.versus_baseline
    return ColumnOut(
        job=column.job,
        endpoint=column.endpoint,
        model=column.model,
        cells=column.cells,
        outcomes={outcome.value: n for outcome, n in column.outcomes.items()},
        scores={name: _summary(summary) for name, summary in column.scores.items()},
        latency_ms=LatencyOut(p50=column.latency_p50_ms, p95=column.latency_p95_ms),
        tokens=ColumnTokens(input=column.input_tokens, output=column.output_tokens),
        cost_usd=None if column.cost_usd is None else money(column.cost_usd),
        versus_baseline=None
        if versus is None
        else {name: _difference(difference) for name, difference in versus.items()},
    )


def _summary(summary: "ScoreSummary") -> SummaryOut:
    return SummaryOut.model_validate(summary, from_attributes=True)


def _difference(difference: "ScoreDifference") -> DifferenceOut:
    return DifferenceOut.model_validate(difference, from_attributes=True)
