"""A pilot of a few rows: what it foresees, what it costs, and that nothing is bought twice."""

from decimal import Decimal

import pytest
from sqlalchemy import select

from hikaku import preflight
from hikaku.errors import Conflict, InvalidInput
from hikaku.jobs import JobState, Outcome
from hikaku.needs import Pace
from hikaku.rescore import rescore
from hikaku.storage import budgets, control, jobs, projects, results
from hikaku.storage.tables import BudgetKind, JobEstimate, JobEvent
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


def test_a_job_that_reuses_buys_what_is_not_recorded_and_equal_cells_once(
    sessions, hikaku_url, tmp_path
):
    till = Till()
    job = wanted(reuse="on", repeats=2)
    _, told = piloted(sessions, hikaku_url, tmp_path, job, till)
    bought, billed = till.calls, till.billed
    assert bought <= 20
    assert {*told["calls"].values()} == {2 * 40 - bought}, "40 rows differ"
    _, again = piloted(sessions, hikaku_url, tmp_path, job, till)
    assert till.calls == bought, "a second pilot tries the same rows"
    assert again["pilot"]["cost_usd"] == "0"
    assert again["cost_usd"] == told["cost_usd"]
    run(sessions, hikaku_url, tmp_path, job, till)
    assert till.calls == 2 * 40
    low, high = (Decimal(told["cost_usd"][key]) for key in ("low", "high"))
    assert low <= till.billed - billed <= high


def test_a_job_whose_cells_are_all_recorded_needs_nothing(sessions, hikaku_url, tmp_path):
    till = Till()
    job = wanted(rows=ROWS[:39], reuse="on")
    run(sessions, hikaku_url, tmp_path, job, till)
    _, told = piloted(sessions, hikaku_url, tmp_path, job, till)
    assert till.calls == 39
    assert told["calls"] == {"value": 0, "low": 0, "high": 0}
    assert told["cost_usd"] == {"value": "0", "low": "0", "high": "0"}
    assert told["seconds"]["value"] == 0


def test_a_job_that_only_reads_buys_equal_cells_each(sessions, hikaku_url, tmp_path):
    till = Till()
    job = wanted(reuse="read")
    _, told = piloted(sessions, hikaku_url, tmp_path, job, till)
    bought = till.calls
    assert told["calls"]["low"] == told["calls"]["high"] > 80
    run(sessions, hikaku_url, tmp_path, job, till)
    assert till.calls - bought == told["calls"]["value"]


def test_of_many_rows_a_sample_is_looked_up(sessions, hikaku_url, tmp_path, monkeypatch):
    monkeypatch.setattr(preflight, "LOOKED_UP", 100)
    till = Till()
    rows = [{"object": f"{row % 40}-{row}", "expected": "赤"} for row in range(400)]
    run(sessions, hikaku_url, tmp_path, wanted(rows=rows[::2], reuse="on"), till)
    bought = till.calls
    _, told = piloted(sessions, hikaku_url, tmp_path, wanted(rows=rows, reuse="on"), till)
    bought = 200 - (till.calls - bought)
    assert told["calls"]["low"] < bought < told["calls"]["high"]
    assert told["calls"]["high"] < 300


def test_what_goes_by_batch_has_its_price_and_no_time(sessions, hikaku_url, tmp_path):
    till = Till()
    by_batch = {
        name: one.model_copy(update={"batch_price_factor": Decimal("0.5")})
        for name, one in priced("a").items()
    }
    _, online = piloted(sessions, hikaku_url, tmp_path, wanted(), till, endpoints=by_batch)
    job = wanted(execution="batch")
    _, told = piloted(sessions, hikaku_url, tmp_path, job, till, endpoints=by_batch)
    assert not online["endpoints"][0]["by_batch"]
    assert told["endpoints"][0]["by_batch"]
    assert Decimal(told["cost_usd"]["high"]) < Decimal(online["cost_usd"]["low"])
    assert online["seconds"] is not None
    assert told["seconds"] is None
    assert [note["code"] for note in told["notes"]] == ["batch_price", "batch_time"]
    assert online["notes"] == []


def test_a_preflight_of_batches_that_a_budget_holds_is_refused(sessions):
    with sessions.begin() as session:
        projects.ensure(session, "赤")
        budgets.set_limit(session, BudgetKind.PROJECT, "赤", Decimal(1000))
        by_batch = {
            name: one.model_copy(update={"batch_price_factor": Decimal("0.5")})
            for name, one in priced("a").items()
        }
        with pytest.raises(InvalidInput, match="online calls only"):
            preflight.start(session, wanted(project="赤", execution="batch"), by_batch)


def test_an_unknown_price_is_an_unknown_cost(sessions, hikaku_url, tmp_path):
    unpriced = {
        name: one.model_copy(update={"output_usd_per_million_tokens": None})
        for name, one in priced("a").items()
    }
    _, told = piloted(sessions, hikaku_url, tmp_path, wanted(), Till(), endpoints=unpriced)
    assert told["cost_usd"] is None
    assert told["pilot"]["cost_usd"] is None
    assert told["output_tokens"] is not None


def test_a_pilot_that_somebody_cancelled_says_so_and_is_no_estimate(sessions):
    with sessions.begin() as session:
        pilot_id = preflight.start(session, wanted(), priced("a")).job_id
        control.cancel(session, pilot_id)
        told = preflight.finish(session, pilot_id, {})
        assert (told["is_complete"], told["calls"]) == (True, None)
        assert [note["code"] for note in told["notes"]] == ["cancelled"]
        assert not session.scalars(select(JobEstimate)).all()


def test_a_preflight_whose_deadline_is_over_is_refused(sessions):
    over = wanted(execution="auto", deadline="2020-01-01T00:00:00Z")
    with sessions.begin() as session, pytest.raises(InvalidInput) as refused:
        preflight.start(session, over, priced("a"))
    assert [fault.pointer for fault in refused.value.faults] == ["/deadline"]


def test_a_pilot_keeps_to_the_budget_of_its_job_and_says_what_it_wants(
    sessions, hikaku_url, tmp_path
):
    till = Till()
    pilot_id, told = piloted(sessions, hikaku_url, tmp_path, wanted(budget_usd=20), till)
    assert till.billed <= 20
    assert state(sessions, pilot_id) is JobState.CANCELLED
    assert told["is_complete"], "asking again would not tell more"
    [note] = told["notes"]
    assert note["code"] == "budget"
    assert "the budget of the job does not pay for the next call" in note["message"]
    assert "80.000000 USD together and 4.000000 USD each" in note["message"]
    with sessions() as session:
        assert budgets.funds(session, BudgetKind.JOB, pilot_id)
        assert not session.scalars(select(JobEstimate)).all()


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
