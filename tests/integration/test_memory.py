"""A cell whose answer does not fit into memory ends so; its shard goes on; its call is known."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select
from typing_extensions import override

from gateway.errors import Outcome as GatewayOutcome
from gateway.types import AttemptReport, ChatRequest, Completion, Observer, Usage
from hikaku.jobs import JobState, Outcome
from hikaku.storage import jobs
from hikaku.storage.tables import AttemptLine, CellResult
from tests.support.crew import crew
from tests.support.jobs import spec, store
from tests.support.workers import numbered_rows

ROWS = 20
USAGE = Usage(input_tokens=1, output_tokens=1)
INSTANT = timedelta(milliseconds=1)


@dataclass
class TooLarge:
    """A model whose answer to one question is too large, as often as it is asked."""

    asked: int = 0

    async def ask(self, request: ChatRequest, *, observer: Observer | None = None) -> Completion:
        assert observer is not None
        observer.sending(1)
        self.asked += 1
        fits = "りんご7" not in request.messages[-1].content
        observer.ended(
            AttemptReport(
                number=1,
                started_at=datetime.now(UTC),
                latency=INSTANT,
                outcome=GatewayOutcome.OK if fits else GatewayOutcome.PROVIDER_ERROR,
                usage=USAGE if fits else Usage(),
            )
        )
        if not fits:
            raise MemoryError
        return Completion(text="赤", finish_reason="stop", usage=USAGE, latency=INSTANT, model=None)


def test_an_answer_that_does_not_fit_is_one_failed_cell(sessions, hikaku_url, tmp_path):
    job_id = store(sessions, spec(rows=numbered_rows(ROWS), endpoints=["a"]), ["a"]).job_id
    model = TooLarge()

    def is_over():
        with sessions() as session:
            return JobState(jobs.get(session, job_id).state).is_final

    with crew(hikaku_url, tmp_path, model, is_over, 1):
        pass
    with sessions() as session:
        assert JobState(jobs.get(session, job_id).state) is JobState.COMPLETED_WITH_ERRORS
        failed = select(CellResult).where(CellResult.outcome != Outcome.OK.value)
        (cell,) = session.scalars(failed).all()
        calls = session.scalars(select(AttemptLine.row)).all()
    assert (cell.row, cell.outcome) == (7, Outcome.MALFORMED)
    assert "does not fit" in cell.error
    assert model.asked == len(calls) == ROWS


@dataclass
class Stumbling(TooLarge):
    """A model behind a gateway with a mistake: its first call fails as nobody foresaw."""

    @override
    async def ask(self, request: ChatRequest, *, observer: Observer | None = None) -> Completion:
        try:
            return await super().ask(request, observer=observer)
        except MemoryError:
            if self.asked <= ROWS:
                raise RuntimeError("nobody foresaw this") from None
            raise


def test_the_calls_of_a_shard_that_is_given_up_are_in_the_ledger(sessions, hikaku_url, tmp_path):
    job_id = store(sessions, spec(rows=numbered_rows(ROWS), endpoints=["a"]), ["a"]).job_id
    model = Stumbling()

    def is_over():
        with sessions() as session:
            return JobState(jobs.get(session, job_id).state).is_final

    with pytest.raises(RuntimeError), crew(hikaku_url, tmp_path / "a", model, is_over, 1):
        pass
    with crew(hikaku_url, tmp_path / "b", model, is_over, 1):
        pass
    with sessions() as session:
        calls = session.scalars(select(AttemptLine.row)).all()
    assert model.asked == len(calls) == ROWS + 1
