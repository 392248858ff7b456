"""Reads the three records of a job: the provider's log, the ledger and the results."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.job_view import job_out
from api.submissions import Submissions
from hikaku.jobs import Outcome
from hikaku.storage import jobs
from hikaku.storage.connection import Sessions
from hikaku.storage.tables import AttemptLine, CellResult, DatasetRow, Job, Shard, Worker
from tests.support.history import Call, Cell, Fault, History, Line, Result, ShardState


@dataclass(frozen=True, slots=True)
class ProviderLog:
    """The log of `tests.support.model_server`."""

    path: Path

    def calls(self) -> list[Call]:
        asked: dict[int, dict[str, Any]] = {}
        answered: dict[int, dict[str, Any]] = {}
        for line in self._lines():
            (asked if line["event"] == "call" else answered)[line["call"]] = line
        return [
            Call(
                cell=(line["model"], line["prompt"]),
                caller=line["caller"],
                at=line["at"],
                answered_at=answered[number]["at"] if number in answered else None,
                status=answered[number]["status"] if number in answered else None,
            )
            for number, line in sorted(asked.items())
        ]

    def count(self) -> int:
        """Calls that have arrived; cheap enough to be asked again and again."""
        return self.path.read_bytes().count(b'"event":"call"') if self.path.exists() else 0

    def _lines(self) -> Iterator[dict[str, Any]]:
        if self.path.exists():
            # A line that is being written has no end yet, and may end within a character.
            whole, _, _ = self.path.read_bytes().rpartition(b"\n")
            yield from map(json.loads, whole.splitlines())


def read(
    sessions: Sessions, job_id: str, log: ProviderLog, faults: Sequence[Fault] = ()
) -> History:
    """Read all there is about a job whose prompt is the column `object`."""
    with sessions() as session:
        job = jobs.get(session, job_id)
        cells = _Cells(session, job)
        planned = cells.planned()
        mine = set(planned)
        shown = job_out(
            session.connection(), job_id, Submissions(), mlflow=False, now=datetime.now(UTC)
        )
        return History(
            planned=planned,
            calls=[call for call in log.calls() if call.cell in mine],
            ledger=list(_ledger(session, job, cells)),
            results=list(_results(session, job, cells)),
            shards=list(_shards(session, job)),
            job_state=job.state,
            faults=faults,
            shown_calls=shown.calls,
            shown_repeated=shown.repeated_calls,
            shown_cost=None if shown.cost_usd is None else Decimal(shown.cost_usd),
        )


class _Cells:
    """What a provider calls the cells of a job."""

    def __init__(self, session: Session, job: Job) -> None:
        snapshot = jobs.snapshot(job)
        self._models = [endpoint.model or "" for endpoint in snapshot.endpoints]
        rows = select(DatasetRow.row, DatasetRow.data).where(
            DatasetRow.bucket == job.bucket, DatasetRow.revision_id == job.revision_id
        )
        self._prompts = {row: str(data["object"]) for row, data in session.execute(rows)}

    def planned(self) -> list[Cell]:
        return [(model, prompt) for model in self._models for prompt in self._prompts.values()]

    def of(self, endpoint: int, row: int) -> Cell:
        return (self._models[endpoint], self._prompts[row])


def _ledger(session: Session, job: Job, cells: _Cells) -> Iterator[Line]:
    for line in session.scalars(select(AttemptLine).where(AttemptLine.job_id == job.id)):
        yield Line(
            cell=cells.of(line.endpoint, line.row),
            shard=line.shard_id,
            epoch=line.epoch,
            number=line.number,
            outcome=line.outcome,
            cost=line.cost_usd,
            input_tokens=line.input_tokens,
            output_tokens=line.output_tokens,
        )


def _results(session: Session, job: Job, cells: _Cells) -> Iterator[Result]:
    for result in session.scalars(select(CellResult).where(CellResult.job_id == job.id)):
        yield Result(
            cell=cells.of(result.endpoint, result.row),
            shard=result.shard_id,
            outcome=result.outcome,
            completion=result.completion,
            reused=result.reused,
        )


def _shards(session: Session, job: Job) -> Iterator[ShardState]:
    alive = set(session.scalars(select(Worker.id).where(Worker.lease_until > func.now())))
    for shard in session.scalars(select(Shard).where(Shard.job_id == job.id)):
        yield ShardState(
            id=shard.id,
            state=shard.state,
            is_held=shard.owner in alive,
            outcomes={outcome.value: getattr(shard, f"n_{outcome.value}") for outcome in Outcome},
            calls=shard.n_calls,
            repeated=shard.n_calls_unknown,
            input_tokens=shard.input_tokens,
            output_tokens=shard.output_tokens,
            cost=shard.cost_usd,
            cost_unknown=shard.n_cost_unknown,
        )
