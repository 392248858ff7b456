"""A pilot of a few rows: what it foresees, what it costs, and that nothing is bought twice."""

from decimal import Decimal

import pytest
from sqlalchemy import select

from hikaku import preflight
from hikaku.errors import Conflict, InvalidInput
from hikaku.jobs import JobState, Outcome
from hikaku.preflight import Pace
from hikaku.rescore import rescore
from hikaku.storage import budgets, jobs, results
from hikaku.storage.tables import BudgetKind, JobEvent
from hikaku.submission import submit
from tests.integration.test_budgets import MOST, Till, priced, rests, state
from tests.support.crew import crew
from tests.support.jobs import spec

ROWS = [{"object": "り" * (row % 40 + 1), "expected": "赤", "other": "青"} for row in range(300)]


def wanted(**changes):
    given = {"rows": ROWS, "endpoints": ["a"], "params": {"max_tokens": MOST}, "scorers": []}
    return spec(**given | changes)


def piloted(sessions, hikaku_url, folder, job, till, *, endpoints=None):
    with sessions.begin() as session:
        started = preflight.start(session, job, endpoints or priced("a"))
    with crew(hikaku_url, folder, till, rests(sessions, started.job_id), 1):
        pass
    with sessions.begin() as session:
        paces = {"a": Pace(concurrency=10, rpm=600)}
        return started.job_id, preflight.finish(session, started.job_id, paces)


def run(sessions, hikaku_url, folder, job, till):
    with sessions.begin() as session:
        job_id = submit(session, job, priced("a")).job_id
    with crew(hikaku_url, folder, till, rests(sessions, job_id), 2):
        pass
    return job_id


def test_a_pilot_foresees_calls_tokens_cost_and_time(sessions, hikaku_url, tmp_path):
    till = Till()
    job = wanted(repeats=2, reuse="off")
    pilot_id, told = piloted(sessions, hikaku_url, tmp_path, job, till)
    assert till.calls == told["pilot"]["calls"] == 20
    assert told["pilot"]["cost_usd"] == str(till.billed)
    assert told["calls"] == {"value": 600, "low": 600, "high": 600}
    assert told["input_tokens"]["value"] == 1800
    low, high = (Decimal(told["cost_usd"][key]) for key in ("low", "high"))
    billed = till.billed
    job_id = run(sessions, hikaku_url, tmp_path, job, till)
    assert low <= till.billed - billed <= high
    assert told["seconds"]["value"] == 60, "600 calls at 600 a minute"
    with sessions() as session:
        estimate = jobs.get(session, job_id).estimate
        assert estimate is not None
        assert estimate["cost_usd"] == told["cost_usd"]
        assert jobs.get(session, pilot_id).estimate is None


def test_a_job_that_reuses_does_not_buy_the_pilots_rows_again(sessions, hikaku_url, tmp_path):
    till = Till()
    job = wanted(reuse="on")
    _, told = piloted(sessions, hikaku_url, tmp_path, job, till)
    bought = till.calls
    assert bought <= 20
    assert told["calls"]["value"] == 300 - 20
    _, again = piloted(sessions, hikaku_url, tmp_path, job, till)
    assert till.calls == bought, "a second pilot tries the same rows"
    assert again["pilot"]["cost_usd"] == "0"
    assert again["cost_usd"] == told["cost_usd"]


def test_an_unknown_price_is_an_unknown_cost(sessions, hikaku_url, tmp_path):
    unpriced = {
        name: one.model_copy(update={"output_usd_per_million_tokens": None})
        for name, one in priced("a").items()
    }
    _, told = piloted(sessions, hikaku_url, tmp_path, wanted(), Till(), endpoints=unpriced)
    assert told["cost_usd"] is None
    assert told["pilot"]["cost_usd"] is None
    assert told["output_tokens"] is not None


def test_a_pilot_keeps_to_the_budget_of_its_job(sessions, hikaku_url, tmp_path):
    till = Till()
    pilot_id, told = piloted(sessions, hikaku_url, tmp_path, wanted(budget_usd=20), till)
    assert till.billed <= 20
    assert state(sessions, pilot_id) is JobState.PAUSED
    assert not told["is_complete"]
    with sessions() as session:
        assert budgets.funds(session, BudgetKind.JOB, pilot_id)


class TestRescoring:
    def judged(self, sessions, job_id):
        with sessions() as session:
            job = jobs.get(session, job_id)
            return [
                (c.completion, [s.value for s in c.scores]) for c in results.cells(session, job)
            ]

    def test_other_scorers_judge_the_same_completions_without_a_call(
        self, sessions, hikaku_url, tmp_path
    ):
        till = Till(timeouts=0.1)
        job = wanted(rows=ROWS[:30], scorers=[{"type": "exact_match"}])
        first = run(sessions, hikaku_url, tmp_path, job, till)
        calls = till.calls
        with sessions.begin() as session:
            other = [{"type": "exact_match", "target": "other"}, {"type": "contains"}]
            scorers = spec(scorers=other).scorers
            second = rescore(session, first, scorers).job_id
        with crew(hikaku_url, tmp_path, till, rests(sessions, second), 2):
            pass
        assert till.calls == calls
        before, after = self.judged(sessions, first), self.judged(sessions, second)
        assert [text for text, _ in before] == [text for text, _ in after]
        assert {tuple(scores) for text, scores in before if text} == {(1.0,)}
        assert {tuple(scores) for text, scores in after if text} == {(0.0, 1.0)}
        with sessions() as session:
            found = jobs.progress(session, [first, second])
            part = found[second].endpoints[0]
            event = session.scalar(
                select(JobEvent.data).where(JobEvent.job_id == first, JobEvent.kind == "control")
            )
        assert (part.calls, part.reused) == (0, 30)
        assert part.cost_usd == 0
        assert found[second].count(Outcome.TIMEOUT) == found[first].count(Outcome.TIMEOUT) > 0
        assert event == {"control": "rescore", "job": second}

    def test_what_cannot_be_rescored_is_refused(self, sessions):
        with sessions.begin() as session:
            job_id = submit(session, wanted(), priced("a")).job_id
            with pytest.raises(Conflict, match="when it has ended"):
                rescore(session, job_id, spec().scorers)
            jobs.get(session, job_id).state = JobState.CANCELLED
            with pytest.raises(InvalidInput, match="do not fit"):
                rescore(
                    session, job_id, spec(scorers=[{"type": "contains", "target": "x"}]).scorers
                )
