"""Budgets, estimates, prices and rescoring over HTTP, with a worker beside the API."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import pytest
from sqlalchemy import func, update

from hikaku.jobs import JobState
from hikaku.storage import jobs
from hikaku.storage.tables import Shard
from tests.integration.test_budgets import Till
from tests.support.crew import crew

JOB = {
    "prompt": {"template": "{{object}}は何色ですか?"},
    "rows": [{"object": f"りんご{row}", "expected": "赤"} for row in range(40)],
    "endpoints": ["b"],
    "params": {"max_tokens": 4},
    "scorers": [{"type": "contains"}],
}


@pytest.fixture
def working(hikaku_url, tmp_path):
    """Run a worker for a while; it stops when the block ends."""

    @contextmanager
    def work(till: Till) -> Iterator[Till]:
        over = Event()
        with crew(hikaku_url, tmp_path, till, over.is_set, 1):
            try:
                yield till
            finally:
                over.set()

    return work


@pytest.fixture
def until(sessions):
    def wait(job_id: str) -> None:
        over = Event()
        for _ in range(1_800):
            with sessions() as session:
                state = JobState(jobs.get(session, job_id).state)
            if state.is_final or state is JobState.PAUSED:
                return
            over.wait(0.05)
        raise AssertionError(f"{job_id} goes on and on")

    return wait


def post(client, path, body=None, status=201):
    answer = client.post(f"/api/v1{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_job_shows_its_budget_its_prices_and_its_ledger(client):
    job = post(client, "/jobs", JOB | {"budget_usd": "2.50"})
    assert job["budget"] == {
        "limit_usd": "2.5",
        "spent_usd": "0",
        "reserved_usd": "0",
        "left_usd": "2.5",
    }
    assert job["endpoints"][0]["price"] == {
        "input": "1",
        "output": "2",
        "cached_input": None,
        "source": "gateway file",
    }
    assert job["ledger"]["settled"] == 0
    assert job["project_budget"] is None


def test_a_job_at_its_budget_pauses_and_is_topped_up(client, working, until):
    # One call costs at most (bytes + 128 + 16 + settings) at 1 and 4 tokens at 2 USD a million.
    job = post(client, "/jobs", JOB | {"budget_usd": "0.0004"})
    with working(Till()):
        until(job["id"])
        paused = client.get(f"/api/v1/jobs/{job['id']}").json()
        assert (paused["state"], paused["paused_for"]) == ("paused", "budget")
        assert paused["counts"]["budget_skipped"] == 40 - paused["counts"]["done"] > 0
        assert paused["counts"]["pending"] == paused["counts"]["failed"] == 0
        assert float(paused["budget"]["spent_usd"]) <= 0.0004
        history = client.get(f"/api/v1/jobs/{job['id']}/history").json()["data"]
        reasons = [e["data"]["reason"] for e in history if "reason" in e["data"]]
        assert reasons == ["the budget of the job does not pay for the next call"]
        topped = post(client, f"/jobs/{job['id']}/budget", {"add_usd": "1"}, 202)
        assert topped["budget"]["limit_usd"] == "1.0004"
        assert topped["state"] in {"running", "queued"}
        until(job["id"])
    ended = client.get(f"/api/v1/jobs/{job['id']}").json()
    assert (ended["state"], ended["paused_for"]) == ("completed", None)
    assert ended["counts"]["budget_skipped"] == 0
    assert ended["ledger"]["reserved_usd"] == ended["ledger"]["unknown_usd"] == "0"
    assert ended["budget"]["spent_usd"] == ended["cost_usd"]
    refused = post(client, f"/jobs/{job['id']}/budget", {"add_usd": 1}, 409)
    assert "nothing left to pay" in refused["detail"]


@pytest.mark.parametrize(
    ("changes", "mend"),
    [({"endpoints": ["a"]}, "`price:`"), ({"params": {}}, "`max_tokens`")],
)
def test_a_budget_that_cannot_hold_is_refused_with_its_mend(client, changes, mend):
    problem = post(client, "/jobs", JOB | {"budget_usd": 1} | changes, 422)
    assert problem["errors"][0]["pointer"] == "/budget_usd"
    assert mend in problem["errors"][0]["message"]
    assert client.get("/api/v1/jobs").json()["data"] == []


@pytest.mark.parametrize("usd", [0, -1, "x", 1e12])
def test_what_is_no_sum_of_money_is_refused(client, usd):
    assert post(client, "/jobs", JOB | {"budget_usd": usd}, 422)["errors"]


def test_no_number_of_top_ups_is_too_much_for_the_ledger(client):
    path = f"/jobs/{post(client, '/jobs', JOB)['id']}/budget"
    most = {"add_usd": "1000000000", "resume": False}
    assert post(client, path, most, 202)["budget"]["limit_usd"] == "1000000000"
    (fault,) = post(client, path, most, 422)["errors"]
    assert fault["pointer"] == "/add_usd"
    assert "2,000,000,000 USD" in fault["message"]


def test_a_project_has_a_budget_until_it_is_taken_away(client):
    path = "/api/v1/projects/赤/budget"
    assert client.get(path).status_code == 404
    assert client.put(path, json={"limit_usd": "250"}).json()["left_usd"] == "250"
    assert post(client, "/jobs", JOB | {"project": "赤"})["project_budget"]["limit_usd"] == "250"
    refused = post(client, "/jobs", JOB | {"project": "赤", "endpoints": ["a"]}, 422)
    assert refused["errors"][0]["pointer"] == "/project"
    assert client.delete(path).status_code == 204
    assert client.delete(path).status_code == 404


def test_a_preflight_estimates_and_the_job_is_held_against_it(client, working, until):
    with working(Till()) as till:
        answer = client.post("/api/v1/jobs?preflight=true", json=JOB)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["is_complete"]
        assert told["calls"]["value"] == 40
        assert told["pilot"]["calls"] == till.calls == 20
        assert told["endpoints"][0]["tried"] == 20
        again = client.get(f"/api/v1/jobs/{told['pilot']['job']}/estimate").json()
        assert again["cost_usd"] == told["cost_usd"]
        job = post(client, "/jobs", JOB)
        until(job["id"])
    shown = client.get(f"/api/v1/jobs/{job['id']}").json()
    estimate = shown["estimate"]
    assert estimate["came"]["calls"] == shown["calls"] == 40
    low, high = (float(estimate["cost_usd"][key]) for key in ("low", "high"))
    assert low <= float(estimate["came"]["cost_usd"]) <= high
    assert estimate["came"]["seconds"] > 0
    assert client.get(f"/api/v1/jobs/{job['id']}/estimate").status_code == 404


def test_a_preflight_does_not_take_the_key_of_its_job(client, working):
    key = {"Idempotency-Key": "one"}
    with working(Till()):
        first = client.post("/api/v1/jobs?preflight=true", json=JOB, headers=key).json()
        again = client.post("/api/v1/jobs?preflight=true", json=JOB, headers=key).json()
        assert first["pilot"]["job"] == again["pilot"]["job"]
        assert client.post("/api/v1/jobs", json=JOB, headers=key).status_code == 201


def test_a_preflight_that_cannot_be_waited_for_says_so(client):
    told = client.post("/api/v1/jobs?preflight=true&wait_seconds=0.1", json=JOB).json()
    assert not told["is_complete"]
    assert told["calls"] is None
    assert told["pilot"]["cells"] == 0


def test_use_without_a_price_has_an_unknown_cost(client, sessions):
    post(client, "/jobs", JOB)
    with sessions.begin() as session:
        session.execute(update(Shard).values(finished_at=func.now(), n_calls=5, n_cost_unknown=5))
    [used] = client.get("/api/v1/usage").json()["data"]
    assert used["cost_usd"] is None
    assert used["cost_unknown_calls"] == used["provider_calls"] > 0
    with sessions.begin() as session:
        session.execute(update(Shard).where(Shard.row_from == 0).values(cost_usd="0.5"))
    [used] = client.get("/api/v1/usage").json()["data"]
    assert used["cost_usd"] == "0.5"
    assert used["cost_unknown_calls"] > 0


def test_a_preflight_that_its_budget_stops_says_so_and_leaves_nothing_lying(client, working, until):
    with working(Till()):
        told = client.post("/api/v1/jobs?preflight=true", json=JOB | {"budget_usd": "0.0001"})
        assert told.status_code == 200, told.text
        pilot = told.json()["pilot"]["job"]
        until(pilot)
        again = client.get(f"/api/v1/jobs/{pilot}/estimate").json()
    for answer in (told.json(), again):
        assert (answer["is_complete"], answer["cost_usd"]) == (True, None)
        assert [note["code"] for note in answer["notes"]] == ["budget"]
    assert client.get(f"/api/v1/jobs/{pilot}").json()["state"] == "cancelled"


def test_other_scorers_make_another_job_without_a_call(client, working, until):
    with working(Till()) as till:
        job = post(client, "/jobs", JOB)
        until(job["id"])
        calls = till.calls
        body = {"scorers": [{"type": "exact_match", "name": "whole"}]}
        second = post(client, f"/jobs/{job['id']}/rescore", body)
        until(second["id"])
        assert till.calls == calls
    shown = client.get(f"/api/v1/jobs/{second['id']}").json()
    assert (shown["rescored_from"], shown["calls"], shown["reused"]) == (job["id"], 0, 40)
    assert [scorer["name"] for scorer in shown["scorers"]] == ["whole"]
    both = client.get(f"/api/v1/comparisons?jobs={job['id']},{second['id']}").json()
    assert [list(column["scores"]) for column in both["columns"]] == [["contains"], ["whole"]]
    assert post(client, f"/jobs/{job['id']}/rescore", {"scorers": []}, 422)["errors"]
