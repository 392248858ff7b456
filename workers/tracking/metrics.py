"""Numbers of a job for MLflow; one that is not known is left out, and is never 0."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from hikaku.comparison import Column, ScoreDifference, ScoreSummary
from hikaku.jobs import Outcome
from hikaku.storage.jobs import EndpointProgress
from workers.tracking.names import key_parts
from workers.tracking.subject import TrackedJob


def of_job(job: TrackedJob) -> dict[str, float]:
    """Count over all endpoints."""
    return _counts(job.columns, list(job.progress.values()))


def of_endpoint(job: TrackedJob, position: int) -> dict[str, float]:
    """Count, score and time one endpoint."""
    column = job.columns[position]
    parts = [job.progress[position]] if position in job.progress else []
    measured = {
        "latency_p50_ms": column.latency_p50_ms,
        "latency_p95_ms": column.latency_p95_ms,
        "input_tokens": column.input_tokens,
        "output_tokens": column.output_tokens,
    }
    return _counts([column], parts) | _known(measured) | dict(_scores(job, position))


def _counts(columns: Sequence[Column], parts: Sequence[EndpointProgress]) -> dict[str, float]:
    counts = {o: sum(column.outcomes.get(o, 0) for column in columns) for o in Outcome}
    return {
        "cells/planned": sum(column.cells for column in columns),
        "cells/recorded": sum(sum(part.counts.values()) for part in parts),
        **{f"cells/{outcome}": count for outcome, count in counts.items()},
        "cells/reused": sum(part.reused for part in parts),
        "calls": sum(part.calls for part in parts),
        "calls/repeated": sum(part.repeated_calls for part in parts),
        **_cost(parts),
    }


def _cost(parts: Sequence[EndpointProgress]) -> dict[str, float]:
    unknown = sum(part.cost_unknown_calls for part in parts)
    cost = sum((part.cost_usd for part in parts), Decimal())
    return {"calls/cost_unknown": unknown} | ({} if unknown else {"cost_usd": float(cost)})


def _scores(job: TrackedJob, position: int) -> Iterator[tuple[str, float]]:
    column = job.columns[position]
    names = [scorer.name for scorer in job.snapshot.scorers]
    for key, name in zip(key_parts(names), names, strict=True):
        given = _of_score(column.scores[name])
        if column.versus_baseline is not None and name in column.versus_baseline:
            given |= _of_difference(column.versus_baseline[name])
        yield from ((f"{key}/{what}", value) for what, value in _known(given).items())


def _of_score(score: ScoreSummary) -> dict[str, float | None]:
    return {
        "mean": score.mean,
        "low": score.low,
        "high": score.high,
        "coverage": score.coverage,
        "rows": score.n,
    }


def _of_difference(difference: ScoreDifference) -> dict[str, float | None]:
    return {
        "versus_baseline/difference": difference.difference,
        "versus_baseline/low": difference.low,
        "versus_baseline/high": difference.high,
        "versus_baseline/p_value": difference.p_value,
        "versus_baseline/pairs": difference.pairs,
    }


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {key: value for key, value in values.items() if value is not None}
