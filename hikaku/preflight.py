"""Estimates a job before it runs: a pilot of a few rows, and what they say of all the others.

The pilot is a job like any other, so its calls are limited, counted, paid and recorded like any
others; a job that reuses completions does not buy its rows again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.orm import Session

from hikaku import estimation
from hikaku.errors import NotFound
from hikaku.estimation import Interval, Stratum
from hikaku.jobs import JobState
from hikaku.pricing import Tariff, tariff
from hikaku.resolving import resolve
from hikaku.specs import EndpointIdentity, JobSpec, Reuse, Snapshot
from hikaku.storage import budgets, estimates, jobs, pilots
from hikaku.storage.pilots import Tried
from hikaku.storage.tables import BudgetKind
from hikaku.submission import Submitted, check_budgets, store

IN_FLIGHT = 400
"""Calls at once of all endpoints together, where they have no limit: one worker process."""

_MINUTE = 60.0
_CENTS = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How hard an endpoint may be pushed; None where nothing limits it."""

    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None


def start(session: Session, spec: JobSpec, endpoints: Mapping[str, EndpointIdentity]) -> Submitted:
    """Store the pilot of a job, in the caller's transaction; publish its hints after the commit.

    Raises:
        InvalidInput: The job itself could not be submitted.
    """
    wanted, revision = resolve(session, spec, endpoints)
    check_budgets(session, spec, wanted)
    seed = estimation.key_of(wanted)
    rows = estimation.frame(revision.n_rows, seed)
    strata = estimation.strata(
        pilots.lengths(session, wanted, revision.bucket, rows), revision.n_rows, seed
    )
    submitted = store(
        session,
        _pilot_of(wanted),
        [],
        name=f"pilot: {spec.name or wanted.prompt.name or 'job'}"[:200],
        priority=0,
    )
    drawn = sorted(row for stratum in strata for row in stratum.rows)
    hints = pilots.add_shards(session, submitted.job_id, drawn)
    if spec.budget_usd is not None:
        budgets.set_limit(session, BudgetKind.JOB, submitted.job_id, spec.budget_usd)
    plan = {
        "strata": [[stratum.size, list(stratum.rows)] for stratum in strata],
        "repeats": wanted.repeats,
        "reuse": wanted.reuse,
    }
    jobs.note(session, submitted.job_id, pilots.KIND, plan)
    return Submitted(job_id=submitted.job_id, hints=hints)


def _pilot_of(wanted: Snapshot) -> Snapshot:
    """What it buys is written down where the job itself would write it down."""
    reuse = Reuse.ON if wanted.reuse.reads else wanted.reuse
    tags = wanted.tags | {"hikaku": "pilot"}
    return wanted.model_copy(update={"repeats": 1, "reuse": reuse, "tags": tags})


def finish(session: Session, pilot_id: str, paces: Mapping[str, Pace]) -> dict[str, Any]:
    """Estimate the job that a pilot was made for, by what has come of it; keep the estimate.

    Args:
        session: The transaction.
        pilot_id: The pilot's job.
        paces: Limits of the endpoints, by name.

    Raises:
        NotFound: It is no pilot.
    """
    job = jobs.get(session, pilot_id)
    plan = pilots.plan_of(session, pilot_id)
    if plan is None:
        raise NotFound(f"{pilot_id} is not a pilot")
    pilot = jobs.snapshot(job)
    reuse = Reuse(plan["reuse"])
    wanted = pilot.model_copy(update={"repeats": plan["repeats"], "reuse": reuse})
    strata = [Stratum(size=size, rows=tuple(rows)) for size, rows in plan["strata"]]
    seen = pilots.tried(session, job)
    share = IN_FLIGHT / len(pilot.endpoints)
    parts = [
        _Part(
            strata=strata,
            tried=seen.get(position, {}),
            tariff=tariff(endpoint),
            repeats=wanted.repeats,
            reads=reuse.reads,
        ).told(endpoint.name, paces.get(endpoint.name, Pace()), share)
        for position, endpoint in enumerate(pilot.endpoints)
    ]
    body = {
        **_summed(parts),
        "confidence": estimation.CONFIDENCE,
        "at": datetime.now(UTC).isoformat(),
        "is_complete": JobState(job.state).is_final,
        "endpoints": parts,
        "pilot": _cost_of_pilot(session, pilot_id, reads=reuse.reads),
    }
    if body["is_complete"]:
        estimates.keep(session, wanted, pilot_id, body)
    return body


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One endpoint of the job, and what the pilot saw of it."""

    strata: Sequence[Stratum]
    tried: Mapping[int, Tried]
    tariff: Tariff | None
    repeats: int
    reads: bool
    """Whether the job takes from the pilot what that has bought."""

    def told(self, name: str, pace: Pace, share: float) -> dict[str, Any]:
        """Say what the endpoint will need."""
        calls = self._total(lambda one: float(max(one.calls, 1)))
        tokens_in = self._total(lambda one: _known(one.input_tokens))
        tokens_out = self._total(lambda one: _known(one.output_tokens))
        work = self._total(lambda one: None if one.latency_ms is None else one.latency_ms / 1000)
        in_flight = min(pace.concurrency or share, share)
        waits = [work and work.over(in_flight)]
        if pace.rpm is not None:
            waits.append(calls and calls.over(pace.rpm / _MINUTE))
        if pace.tpm is not None and tokens_in is not None and tokens_out is not None:
            both = estimation.added([tokens_in, tokens_out])
            waits.append(both.over(pace.tpm / _MINUTE))
        known = [wait for wait in waits if wait is not None]
        return {
            "name": name,
            "calls": _counts(calls),
            "input_tokens": _counts(tokens_in),
            "output_tokens": _counts(tokens_out),
            "cost_usd": _money(self._total(self._cost)),
            "seconds": _seconds(_longest(known)),
            "in_flight": round(in_flight),
            "tried": len(self.tried),
            "failed": sum(one.outcome.is_failed for one in self.tried.values()),
        }

    def _total(self, amount: Callable[[Tried], float | None]) -> Interval | None:
        whole = estimation.total(self.strata, self.tried, amount)
        if whole is None:
            return None
        whole = Interval(
            value=whole.value * self.repeats,
            low=whole.low * self.repeats,
            high=whole.high * self.repeats,
        )
        bought = (one for one in self.tried.values() if one.outcome.is_answered)
        return whole.less(sum(amount(one) or 0 for one in bought)) if self.reads else whole

    def _cost(self, one: Tried) -> float | None:
        """What it costs to buy: of a cell that was reused, what it would have cost."""
        if not one.outcome.is_answered:
            return None
        cost = one.cost_usd
        if one.reused:
            cost = None if self.tariff is None else self.tariff.cost(_Counted(one))
        return None if cost is None else float(cost)


class _Counted:
    """A recorded cell's tokens, as a tariff reads them."""

    def __init__(self, one: Tried) -> None:
        self.input_tokens = one.input_tokens
        self.output_tokens = one.output_tokens
        self.cached_input_tokens: int | None = None


def _cost_of_pilot(session: Session, pilot_id: str, *, reads: bool) -> dict[str, Any]:
    progress = jobs.progress(session, [pilot_id])[pilot_id]
    parts = progress.endpoints.values()
    unknown = sum(part.cost_unknown_calls for part in parts)
    cost = sum((part.cost_usd for part in parts), Decimal(0))
    return {
        "job": pilot_id,
        "cells": progress.done,
        "failed": progress.failed,
        "calls": sum(part.calls for part in parts),
        "cost_usd": None if unknown and not cost else f"{cost.normalize():f}",
        "cost_unknown_calls": unknown,
        "is_reused": reads,
    }


def _summed(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = ("calls", "input_tokens", "output_tokens", "cost_usd")
    totals: dict[str, Any] = {}
    for name in names:
        found = [_read(part[name]) for part in parts]
        known = [one for one in found if one is not None]
        whole = estimation.added(known) if len(known) == len(found) and known else None
        totals[name] = _money(whole) if name == "cost_usd" else _counts(whole)
    times = [one for one in (_read(part["seconds"]) for part in parts) if one is not None]
    totals["seconds"] = _seconds(_longest(times))
    return totals


def _longest(times: Sequence[Interval]) -> Interval | None:
    if not times:
        return None
    return Interval(
        value=max(t.value for t in times),
        low=max(t.low for t in times),
        high=max(t.high for t in times),
    )


def _known(count: int | None) -> float | None:
    return None if count is None else float(count)


def _read(told: Mapping[str, Any] | None) -> Interval | None:
    return None if told is None else Interval(**{key: float(told[key]) for key in told})


def _counts(found: Interval | None) -> dict[str, int] | None:
    if found is None:
        return None
    return {"value": round(found.value), "low": round(found.low), "high": round(found.high)}


def _seconds(found: Interval | None) -> dict[str, float] | None:
    if found is None:
        return None
    return {key: round(getattr(found, key), 1) for key in ("value", "low", "high")}


def _money(found: Interval | None) -> dict[str, str] | None:
    if found is None:
        return None
    return {
        key: f"{Decimal(getattr(found, key)).quantize(_CENTS).normalize():f}"
        for key in ("value", "low", "high")
    }
