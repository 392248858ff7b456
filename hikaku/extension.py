"""Extends a job: what is added is planned, and nothing that was asked is asked again.

A job only grows. Endpoints and scorers come behind those there are, rows behind rows, repeats
behind repeats, so that every recorded cell keeps its place and its meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy.orm import Session

from hikaku.errors import Conflict, Fault, InvalidInput
from hikaku.jobs import Control, Hint, JobState, after
from hikaku.planning import Grid, plan_more
from hikaku.pricing import unbounded
from hikaku.resolving import (
    check_execution,
    check_size,
    check_variables,
    resolve_dataset,
    resolve_endpoints,
    resolve_scorers,
)
from hikaku.specs import (
    EndpointIdentity,
    EndpointRef,
    Execution,
    Extension,
    Growth,
    Params,
    Snapshot,
    SnapshotEndpoint,
    SnapshotScorer,
)
from hikaku.storage import budgets, control, datasets, jobs, offloads, pilots
from hikaku.storage.datasets import Revision
from hikaku.storage.tables import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Extended:
    """What came of an extension, and the hints to publish after the commit."""

    n_cells: int
    """How many cells are asked that were not planned before."""
    hints: tuple[Hint, ...]


def extend(
    session: Session,
    job_id: str,
    wanted: Extension,
    endpoints: Mapping[str, EndpointIdentity],
    *,
    slots: int = 16,
) -> Extended:
    """Add rows, endpoints, scorers or repeats to a job, in the caller's transaction.

    What it has already is passed over, so asking again adds nothing; inline rows are always new.

    Args:
        session: The transaction; commit it, then publish the hints.
        job_id: The job.
        wanted: What is added.
        endpoints: The gateway's endpoints by name.
        slots: Shards that all workers together can run at once.

    Raises:
        NotFound: There is no such job.
        Conflict: Its state forbids it, or an endpoint of it has changed since.
        InvalidInput: Something in the request cannot be done; its faults say where and why.
    """
    job = jobs.get(session, job_id, lock=True)
    then = after(Control.EXTEND, JobState(job.state))
    old = jobs.snapshot(job)
    _check_whole(session, job_id, old, wanted)
    new = _grown(session, old, wanted, endpoints)
    if new == old:
        return Extended(n_cells=0, hints=())
    before, grid = _grid(old), _grid(new)
    planned = plan_more(before, grid, slots=slots)
    _check_unchanged(old, new, endpoints)
    _check_budgets(session, job, old, new)
    kept = new.model_copy(update={"extensions": (*old.extensions, _growth(new))})
    job.snapshot = kept.model_dump(mode="json")
    job.revision_id, job.n_cells = new.dataset.id, grid.n_cells
    job.owes_scores = job.owes_scores or len(new.scorers) > len(old.scorers)
    aside = offloads.plan_more(session, job_id, new, jobs.add_shards(session, job, planned))
    told = _told(old, new, grid.n_cells - before.n_cells, in_batches=sum(aside.values()))
    jobs.note(session, job_id, "control", told)
    control.reopen(session, job, then)
    jobs.close_if_ended(session, job_id)  # scorers alone add no cells: what is there is judged
    return Extended(n_cells=grid.n_cells - before.n_cells, hints=control.publish(session, job_id))


def _check_whole(session: Session, job_id: str, old: Snapshot, wanted: Extension) -> None:
    """Refuse to ask more in a job that runs some rows alone, or none."""
    if pilots.plan_of(session, job_id) is not None:
        raise Conflict("a pilot tries some rows alone: submit the job itself")
    if old.rescored_from is not None and wanted.model_fields_set - {"scorers"}:
        message = f"its completions are copied: extend {old.rescored_from}, and rescore that"
        raise Conflict(message)


def _grown(
    session: Session,
    old: Snapshot,
    wanted: Extension,
    known: Mapping[str, EndpointIdentity],
) -> Snapshot:
    chosen = _endpoints(old, wanted, known)
    scorers = _scorers(old, wanted)
    repeats = _repeats(old, wanted.repeats)
    before = datasets.get(session, old.dataset.id)
    revision = _rows(session, before, wanted)
    check_variables(old.prompt, scorers, revision)
    check_size(revision.n_rows, len(chosen), repeats)
    dataset = old.dataset if revision.id == before.id else datasets.snapshot(session, revision)
    changed = {"endpoints": chosen, "scorers": scorers, "repeats": repeats, "dataset": dataset}
    return old.model_copy(update=changed)


def _endpoints(
    old: Snapshot, wanted: Extension, known: Mapping[str, EndpointIdentity]
) -> tuple[SnapshotEndpoint, ...]:
    """Put new endpoints behind the old ones; one that is there must be meant as it is."""
    there = {endpoint.name: endpoint for endpoint in old.endpoints}
    refs = [e if isinstance(e, EndpointRef) else EndpointRef(name=e) for e in wanted.endpoints]
    shared = _shared_params(old)
    chosen = resolve_endpoints(refs, known, params=shared, request=old.prompt.request)
    faults = [
        Fault(
            pointer=f"/endpoints/{position}",
            message=f"{endpoint.name!r} is there with other parameters; leave it out, or submit"
            " a job of its own for these",
        )
        for position, (ref, endpoint) in enumerate(zip(refs, chosen, strict=True))
        if endpoint.name in there
        and ref.params != Params()
        and endpoint.params != there[endpoint.name].params
    ]
    if faults:
        raise InvalidInput("a job has an endpoint once", faults=faults)
    check_execution(old.execution, chosen)
    return (*old.endpoints, *(endpoint for endpoint in chosen if endpoint.name not in there))


def _shared_params(old: Snapshot) -> Params:
    """Give the parameters that all endpoints of a job have in common."""
    first, *others = [endpoint.params.model_dump(exclude_none=True) for endpoint in old.endpoints]
    shared = {k: v for k, v in first.items() if all(k in o and o[k] == v for o in others)}
    return Params.model_validate(shared)


def _scorers(old: Snapshot, wanted: Extension) -> tuple[SnapshotScorer, ...]:
    there = {scorer.name: scorer for scorer in old.scorers}
    built = resolve_scorers(wanted.scorers)
    faults = [
        Fault(
            pointer=f"/scorers/{position}/name",
            message=f"{scorer.name!r} is there with other options; give this one another `name`",
        )
        for position, scorer in enumerate(built)
        if scorer.name in there and scorer != there[scorer.name]
    ]
    if faults:
        raise InvalidInput("two scorers bear one name", faults=faults)
    return (*old.scorers, *(scorer for scorer in built if scorer.name not in there))


def _repeats(old: Snapshot, wanted: int | None) -> int:
    if wanted is not None and wanted < old.repeats:
        message = f"the job has {old.repeats} repeats; a job only grows"
        raise InvalidInput(message, faults=[Fault(pointer="/repeats", message=message)])
    return wanted or old.repeats


def _rows(session: Session, before: Revision, wanted: Extension) -> Revision:
    if wanted.rows is not None:
        return datasets.append_inline(session, before, wanted.rows)
    if wanted.dataset is None:
        return before
    revision = resolve_dataset(session, wanted.dataset)
    if revision.id == before.id:
        return before
    differs = datasets.first_difference(session, before, revision)
    if differs is not None:
        message = f"row {differs} is not the job's; a revision for it begins with the rows it has"
        raise InvalidInput(message, faults=[Fault(pointer="/dataset", message=message)])
    if revision.bucket != before.bucket:
        message = "the revision lies in another partition than the job's rows; submit a new job"
        raise InvalidInput(message, faults=[Fault(pointer="/dataset", message=message)])
    return revision


def _check_unchanged(old: Snapshot, new: Snapshot, known: Mapping[str, EndpointIdentity]) -> None:
    """Refuse to ask old endpoints more when they are not what they were."""
    grows = new.repeats > old.repeats or new.dataset.n_rows > old.dataset.n_rows
    for endpoint in old.endpoints if grows else ():
        present = known.get(endpoint.name)
        if present is None or present.fingerprint != endpoint.fingerprint:
            what = "is gone" if present is None else "has another model or other settings"
            raise Conflict(
                f"endpoint {endpoint.name!r} {what} since the job was submitted: answers of both"
                " would be compared as one; submit a new job"
            )


def _check_budgets(session: Session, job: Job, old: Snapshot, new: Snapshot) -> None:
    """Refuse new endpoints whose calls nothing bounds, where a budget holds the job."""
    if not budgets.is_held(session, job.id, job.project):
        return
    added = new.endpoints[len(old.endpoints) :]
    most = [message for endpoint in added if (message := unbounded(new, endpoint)) is not None]
    if most:
        faults = [Fault(pointer="/endpoints", message=message) for message in most]
        raise InvalidInput("the job has a budget, which cannot hold these calls", faults=faults)


def _grid(snapshot: Snapshot) -> Grid:
    return Grid(
        n_rows=snapshot.dataset.n_rows,
        n_endpoints=len(snapshot.endpoints),
        repeats=snapshot.repeats,
    )


def _growth(new: Snapshot) -> Growth:
    return Growth(
        at=datetime.now(UTC),
        n_rows=new.dataset.n_rows,
        n_endpoints=len(new.endpoints),
        n_scorers=len(new.scorers),
        repeats=new.repeats,
        dataset=new.dataset.id,
    )


def _told(old: Snapshot, new: Snapshot, n_cells: int, *, in_batches: int) -> dict[str, object]:
    told: dict[str, object] = {"control": Control.EXTEND.value, "n_cells": n_cells}
    if new.execution is not Execution.ONLINE:
        told["in_batches"] = in_batches
    if new.dataset != old.dataset:
        told["rows"] = [old.dataset.n_rows, new.dataset.n_rows]
    if new.repeats != old.repeats:
        told["repeats"] = [old.repeats, new.repeats]
    if added := [endpoint.name for endpoint in new.endpoints[len(old.endpoints) :]]:
        told["endpoints"] = added
    if judges := [scorer.name for scorer in new.scorers[len(old.scorers) :]]:
        told["scorers"] = judges
    return told
