"""Cells that were never asked: counted alike wherever they are told of, and asked on request."""

import json

import pytest
from sqlalchemy import update

from hikaku.jobs import Outcome
from hikaku.storage import control, jobs, recording, shards
from hikaku.storage.tables import Shard
from tests.integration.test_api.test_api_control import JOBS, SPEC, Hands, cells, history, post
from tests.support.jobs import record

ROWS = [{"object": f"色{n}", "expected": "赤"} for n in range(4)]


class Unsteady(Hands):
    """Does what workers do that are stopped in the midst of it."""

    def answer_some(self, claim, outcomes):
        with self.sessions.begin() as session:
            made = [
                record(
                    claim.job_id, claim.shard_id, endpoint=claim.endpoint, row=row,
                    epoch=claim.epoch, outcome=outcome,
                )
                for row, outcome in enumerate(outcomes)
            ]  # fmt: skip
            recording.record(session, made)

    def stop(self, claim):
        with self.sessions.begin() as session:
            assert shards.cancel(session, claim, self.worker)
            jobs.close_if_ended(session, claim.job_id)

    def fail_whatever_waits(self):
        with self.sessions.begin() as session:
            session.execute(update(Shard).values(claims=shards.MAX_CLAIMS - 1))
        while (claim := self.claim()) is not None:
            with self.sessions.begin() as session:
                shards.give_up(session, claim, self.worker, "no luck")
                jobs.close_if_ended(session, claim.job_id)


@pytest.fixture
def hands(sessions):
    return Unsteady(sessions)


@pytest.fixture
def job_id(client):
    return client.post(JOBS, json=SPEC | {"rows": ROWS}).json()["id"]


@pytest.fixture
def cancelled(client, job_id, hands):
    """Four cells of the first endpoint are asked, and one of them fails; four are not."""
    hands.answer(hands.claim(), [Outcome.TIMEOUT])
    post(client, job_id, "cancel")
    return job_id


def counts(client, job_id):
    job = client.get(f"{JOBS}/{job_id}").json()
    return {name: n for name, n in job["counts"].items() if n}


def test_every_cell_of_an_ended_job_has_an_outcome(client, cancelled):
    assert counts(client, cancelled) == {
        "total": 8, "done": 4, "failed": 1, "ok": 3, "timeout": 1, "cancelled": 4,
    }  # fmt: skip
    endpoints = client.get(f"{JOBS}/{cancelled}").json()["endpoints"]
    assert [(e["counts"]["pending"], e["counts"]["cancelled"]) for e in endpoints] == [
        (0, 0),
        (0, 4),
    ]


def test_a_comparison_says_the_same(client, cancelled):
    found = client.get(f"/api/v1/comparisons?jobs={cancelled}").json()
    assert [column["outcomes"] for column in found["columns"]] == [
        {"ok": 3, "timeout": 1},
        {"cancelled": 4},
    ]
    codes = [warning["code"] for warning in found["warnings"]]
    assert "never_asked" in codes
    assert "unfinished" not in codes


def test_what_was_never_asked_has_no_row(client, cancelled):
    assert len(cells(client, cancelled)) == 4
    found = client.get(f"{JOBS}/{cancelled}/cells?outcome=cancelled").json()["data"]
    assert found == []
    lines = client.get(f"{JOBS}/{cancelled}/export").text.splitlines()
    assert len([json.loads(line) for line in lines]) == 4


def test_by_name_they_are_asked_and_nothing_else(client, cancelled, hands):
    job = post(client, cancelled, "retry-failed", {"outcomes": ["cancelled"]})
    assert (job["state"], job["counts"]["pending"], job["counts"]["cancelled"]) == ("queued", 4, 0)
    assert hands.finish() == 4
    job = client.get(f"{JOBS}/{cancelled}").json()
    assert (job["state"], job["counts"]["done"]) == ("completed_with_errors", 8)
    retry = history(client, cancelled)[-1]
    assert (retry["n_cells"], retry["outcomes"]) == (4, ["cancelled"])


@pytest.mark.parametrize("at_once", [True, False])
def test_a_shard_whose_failures_are_retried_too_ends(client, hands, at_once):
    job_id = client.post(JOBS, json=SPEC | {"rows": ROWS, "endpoints": ["a"]}).json()["id"]
    claim = hands.claim()
    hands.answer_some(claim, [Outcome.TIMEOUT, Outcome.OK])
    post(client, job_id, "cancel")
    hands.stop(claim)
    assert counts(client, job_id)["cancelled"] == 2
    if at_once:
        post(client, job_id, "retry-failed", {"outcomes": ["timeout", "cancelled"]})
        assert hands.finish() == 3
    else:
        post(client, job_id, "retry-failed")
        assert hands.finish() == 1
        assert client.get(f"{JOBS}/{job_id}").json()["state"] == "cancelled"
        post(client, job_id, "retry-failed", {"outcomes": ["cancelled"]})
        assert hands.finish() == 2
    assert counts(client, job_id) == {"total": 4, "done": 4, "ok": 4}
    assert client.get(f"{JOBS}/{job_id}").json()["state"] == "completed"


def test_only_those_of_an_endpoint(client, job_id, hands):
    post(client, job_id, "cancel")
    body = {"outcomes": ["cancelled"], "endpoints": ["b"]}
    assert post(client, job_id, "retry-failed", body)["endpoints"][1]["counts"]["pending"] == 4
    assert hands.finish() == 4
    assert counts(client, job_id)["cancelled"] == 4
    assert client.get(f"{JOBS}/{job_id}").json()["state"] == "cancelled"


def test_what_a_budget_skipped_is_cancelled_with_the_job(client, job_id, hands):
    hands.answer(hands.claim())
    with hands.sessions.begin() as session:
        control.pause(session, job_id, reason="the budget does not pay").paused_for = "budget"
    assert counts(client, job_id) == {"total": 8, "done": 4, "ok": 4, "budget_skipped": 4}
    post(client, job_id, "cancel")
    assert counts(client, job_id) == {"total": 8, "done": 4, "ok": 4, "cancelled": 4}
    post(client, job_id, "retry-failed", {"outcomes": ["cancelled"]})
    assert hands.finish() == 4
    assert counts(client, job_id) == {"total": 8, "done": 8, "ok": 8}


def test_who_asks_for_what_there_is_not_is_told_of_what_there_is(client, cancelled):
    body = {"outcomes": ["budget_skipped"], "endpoints": ["b"]}
    problem = post(client, cancelled, "retry-failed", body, status=409)
    assert problem["detail"] == (
        f"no cell of job {cancelled} on b ended budget_skipped; 4 were never asked: the outcome"
        " `cancelled` asks them"
    )


def test_an_outcome_that_is_no_failure_is_refused_where_it_stands(client, cancelled):
    problem = post(client, cancelled, "retry-failed", {"outcomes": ["timeout", "ok"]}, status=422)
    assert [fault["pointer"] for fault in problem["errors"]] == ["/outcomes/1"]


def test_a_cell_that_is_named_twice_is_counted_once(client, cancelled):
    post(client, cancelled, "retry-failed", {"cells": ["0.0.0", "0.0.0"]})
    retry = history(client, cancelled)[-1]
    assert (retry["n_cells"], retry["cells"]) == (1, 1)


def test_a_job_that_could_not_be_run_is_asked_again_by_a_plain_retry(client, job_id, hands):
    hands.fail_whatever_waits()
    job = client.get(f"{JOBS}/{job_id}").json()
    assert (job["state"], job["counts"]["cancelled"]) == ("failed", 8)
    job = post(client, job_id, "retry-failed")
    assert (job["state"], job["error"], job["counts"]["pending"]) == ("queued", None, 8)
    assert hands.finish() == 8
    assert client.get(f"{JOBS}/{job_id}").json()["state"] == "completed"


def test_a_rescored_job_counts_them_alike_and_can_fetch_them_later(client, cancelled, hands):
    again = client.post(
        f"{JOBS}/{cancelled}/rescore", json={"scorers": [{"type": "exact_match"}]}
    ).json()["id"]
    hands.answer(hands.claim(), [Outcome.TIMEOUT])
    hands.answer(hands.claim(), [Outcome.CANCELLED] * 4)  # as `workers.copying` records them
    before, after = counts(client, cancelled), counts(client, again)
    assert {n: before[n] for n in ("total", "done", "cancelled")} == {
        n: after[n] for n in ("total", "done", "cancelled")
    }
    job = post(client, again, "retry-failed", {"outcomes": ["cancelled"]})
    assert job["state"] == "queued"
    assert hands.finish() == 4
    assert counts(client, again)["ok"] == 7


def test_an_unpriced_job_is_refused_a_budget_by_its_endpoint(client, job_id):
    answer = client.post(f"{JOBS}/{job_id}/budget", json={"add_usd": "1"})
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/endpoints/0"]
