"""Every control over HTTP, with a worker's part played by hand."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace
from sqlalchemy import select

from hikaku.ids import new_uuid
from hikaku.jobs import CellScore, JobState, Outcome, ShardKind, ShardState
from hikaku.storage import claims, jobs, recording, scores, shards
from hikaku.storage.tables import CellResult, Shard
from hikaku.storage.work import left_to_do
from tests.support.jobs import record

JOBS = "/api/v1/jobs"
SPEC = {
    "prompt": {"template": "{{object}}は何色ですか?"},
    "rows": [{"object": "りんご", "expected": "赤"}, {"object": "空", "expected": "青"}],
    "endpoints": ["a", "b"],
    "params": {"max_tokens": 8},
    "scorers": [{"type": "contains"}],
}


@pytest.fixture
def job_id(client):
    return client.post(JOBS, json=SPEC).json()["id"]


class Hands:
    """Does what workers do."""

    def __init__(self, sessions):
        self.sessions = sessions
        self.worker = new_uuid()

    def claim(self):
        with self.sessions.begin() as session:
            return claims.claim_next(session, self.worker)

    def answer(self, claim, outcomes=()):
        """Record every cell of a claimed shard, by rows; ok where no outcome is given."""
        with self.sessions.begin() as session:
            cells = [cell for work in left_to_do(session, claim.shard_id) for cell in work.cells]
            made = []
            for number, cell in enumerate(cells):
                outcome = outcomes[number] if number < len(outcomes) else Outcome.OK
                one = record(
                    claim.job_id, claim.shard_id, endpoint=claim.endpoint, row=cell.row,
                    round=claim.round, epoch=claim.epoch, outcome=outcome,
                )  # fmt: skip
                address = replace(one.address, repeat=cell.repeat)
                made.append(replace(one, address=address))
            recording.record(session, made)
            assert shards.complete(session, claim, self.worker)
            jobs.close_if_ended(session, claim.job_id)
        return len(cells)

    def finish(self, outcomes=()):
        """Do all that waits; gives the number of cells that were asked."""
        asked = 0
        while (claim := self.claim()) is not None:
            if claim.kind is ShardKind.SCORE:
                self.judge(claim)
            else:
                asked += self.answer(claim, outcomes)
        return asked

    def judge(self, claim):
        with self.sessions.begin() as session:
            for answer in scores.answers(session, claim, after=None, limit=1_000):
                wanted = range(len(jobs.snapshot(jobs.get(session, claim.job_id)).scorers))
                given = [
                    CellScore(scorer=position, value=0.5)
                    for position in wanted
                    if position not in answer.scorers
                ]
                scores.add(session, claim, [(answer, given)])
            assert shards.complete(session, claim, self.worker)
            jobs.close_if_ended(session, claim.job_id)


@pytest.fixture
def hands(sessions):
    return Hands(sessions)


def post(client, job_id, what, body=None, status=202):
    answer = client.post(f"{JOBS}/{job_id}/{what}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def history(client, job_id, kind="control"):
    found = client.get(f"{JOBS}/{job_id}/history").json()["data"]
    return [event["data"] for event in found if event["kind"] == kind]


def cells(client, job_id):
    return client.get(f"{JOBS}/{job_id}/cells").json()["data"]


def test_a_paused_job_gives_nothing_out_until_it_is_resumed(client, job_id, hands, queue):
    assert post(client, job_id, "pause")["state"] == "paused"
    assert hands.claim() is None
    queue.hints.clear()
    assert post(client, job_id, "resume")["state"] == "queued"
    assert len(queue.hints) == 2, "its shards are published with the answer"
    assert hands.finish() == 4
    assert client.get(f"{JOBS}/{job_id}").json()["state"] == "completed"
    assert [event["control"] for event in history(client, job_id)] == ["pause", "resume"]


def test_a_shard_that_a_pause_sends_back_has_not_lost_a_life(client, job_id, hands, sessions):
    claim = hands.claim()
    post(client, job_id, "pause")
    with sessions.begin() as session:
        (held,) = shards.held(session, hands.worker)
        assert held.job_state is JobState.PAUSED
        assert shards.hand_back(session, claim, hands.worker)
        shard = session.get_one(Shard, claim.shard_id)
        assert (shard.state, shard.claims) == (ShardState.QUEUED, 0)
    assert post(client, job_id, "resume")["state"] == "running"
    assert hands.finish() == 4


def test_controls_that_are_repeated_change_nothing(client, job_id):
    for what in ("pause", "resume", "cancel"):
        first = post(client, job_id, what)
        again = post(client, job_id, what)
        assert (again["state"], again["id"]) == (first["state"], first["id"])
    assert [e["control"] for e in history(client, job_id)] == ["pause", "resume", "cancel"]


@pytest.mark.parametrize(
    ("what", "body", "mend"),
    [
        ("pause", None, "only a job that is queued or running"),
        ("resume", None, "retry-failed or extend takes up an ended one"),
        ("extend", {"repeats": 2}, "submit a new job"),
    ],
)
def test_what_the_state_forbids_is_refused_with_the_state_and_the_mend(
    client, job_id, what, body, mend
):
    post(client, job_id, "cancel")
    problem = post(client, job_id, what, body, status=409)
    assert problem["code"] == "conflict"
    assert "the job is cancelled" in problem["detail"]
    assert mend in problem["detail"]


def test_a_job_whose_last_shard_ends_while_it_is_paused_is_complete(client, job_id, hands):
    first, second = hands.claim(), hands.claim()
    post(client, job_id, "pause")
    hands.answer(first)
    assert client.get(f"{JOBS}/{job_id}").json()["state"] == "paused"
    hands.answer(second)
    assert client.get(f"{JOBS}/{job_id}").json()["state"] == "completed"


class TestRetrying:
    @pytest.fixture
    def failed(self, client, job_id, hands):
        for outcomes in (
            [Outcome.TIMEOUT, Outcome.PROVIDER_ERROR],
            [Outcome.TIMEOUT, Outcome.OK],
        ):
            hands.answer(hands.claim(), outcomes)
        assert client.get(f"{JOBS}/{job_id}").json()["state"] == "completed_with_errors"
        return job_id

    def asked(self, sessions, job_id):
        with sessions() as session:
            found = session.scalars(select(Shard).where(Shard.job_id == job_id, Shard.round > 0))
            return sorted((s.endpoint, r) for s in found for r in s.rows)

    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (None, [(0, 0), (0, 1), (1, 0)]),
            ({"outcomes": ["provider_error"]}, [(0, 1)]),
            ({"endpoints": ["b"]}, [(1, 0)]),
            ({"cells": ["0.1.0", "1.0.0"]}, [(0, 1), (1, 0)]),
            ({"outcomes": ["timeout"], "endpoints": ["a"]}, [(0, 0)]),
        ],
    )
    def test_what_is_named_is_asked_again_and_nothing_else(
        self, client, failed, hands, body, expected
    ):
        assert post(client, failed, "retry-failed", body)["state"] == "queued"
        assert self.asked(hands.sessions, failed) == expected
        assert hands.finish() == len(expected)
        (event,) = history(client, failed)
        assert (event["control"], event["n_cells"]) == ("retry", len(expected))

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({"cells": ["0.0.0", "1.1.0"]}, "/cells/1"),
            ({"cells": ["0.0.0", "9.9.9"]}, "/cells/1"),
            ({"cells": ["色"]}, "/cells/0"),
            ({"endpoints": ["a", "c"]}, "/endpoints/1"),
        ],
    )
    def test_what_is_not_to_be_retried_is_refused_where_it_stands(
        self, client, failed, sessions, body, pointer
    ):
        problem = post(client, failed, "retry-failed", body, status=422)
        assert [fault["pointer"] for fault in problem["errors"]] == [pointer]
        assert self.asked(sessions, failed) == []

    def test_a_job_that_runs_is_not_retried(self, client, failed):
        post(client, failed, "retry-failed")
        problem = post(client, failed, "retry-failed", status=409)
        assert "the job is queued" in problem["detail"]


class TestExtending:
    def test_repeats_endpoints_and_rows_ask_only_what_is_new(self, client, hands):
        job_id = client.post(JOBS, json=SPEC | {"endpoints": ["a"]}).json()["id"]
        assert hands.finish() == 2
        before = {cell["id"]: cell for cell in cells(client, job_id)}
        body = {"rows": [{"object": "海", "expected": "青"}], "endpoints": ["b"], "repeats": 2}
        job = post(client, job_id, "extend", body)
        assert (job["state"], job["counts"]["total"]) == ("queued", 12)
        assert job["endpoints"][1]["params"] == {"max_tokens": 8}, "what the others share"
        assert hands.finish() == 10
        after = {cell["id"]: cell for cell in cells(client, job_id)}
        assert len(after) == 12
        assert {id_: after[id_] for id_ in before} == before
        assert client.get(f"{JOBS}/{job_id}").json()["state"] == "completed"
        assert after["1.2.1"]["variables"]["object"] == "海"

    def test_a_longer_revision_is_taken_and_another_refused(self, client, hands):
        def upload(*names):
            body = "\n".join(f'{{"object": "{name}", "expected": "x"}}' for name in names)
            answer = client.post(
                "/api/v1/datasets?name=色", content=body.encode(),
                headers={"content-type": "application/x-ndjson"},
            )  # fmt: skip
            return answer.json()["id"]

        spec = {key: value for key, value in SPEC.items() if key != "rows"}
        short, longer = upload("空", "海"), upload("空", "海", "草")
        other = upload("海", "空", "草")
        job_id = client.post(JOBS, json=spec | {"dataset": {"id": short}}).json()["id"]
        hands.finish()
        problem = post(client, job_id, "extend", {"dataset": {"id": other}}, status=422)
        assert problem["errors"][0]["pointer"] == "/dataset"
        assert problem["errors"][0]["message"].startswith("row 0 is not the job's")
        job = post(client, job_id, "extend", {"dataset": {"id": longer}})
        assert (job["dataset"]["n_rows"], job["extensions"][0]["dataset"]) == (3, longer)
        assert hands.finish() == 2
        shorter = post(client, job_id, "extend", {"dataset": {"id": short}}, status=422)
        assert shorter["errors"][0]["message"].startswith("row 2 is not the job's")

    def test_a_new_scorer_judges_what_is_recorded_without_a_call(self, client, hands, job_id):
        hands.finish()
        job = post(client, job_id, "extend", {"scorers": [{"type": "exact_match"}]})
        assert (job["state"], job["counts"]["pending"]) == ("queued", 0)
        assert hands.finish() == 0
        job = client.get(f"{JOBS}/{job_id}").json()
        assert (job["state"], job["calls"]) == ("completed", 4)
        assert [set(cell["scores"]) for cell in cells(client, job_id)] == [
            {"contains", "exact_match"}
        ] * 4
        (event,) = history(client, job_id)
        assert event == {"control": "extend", "n_cells": 0, "scorers": ["exact_match"]}

    def test_what_was_asked_by_an_older_plan_is_judged_before_the_end(self, client, hands, job_id):
        claim = hands.claim()
        post(client, job_id, "extend", {"scorers": [{"type": "exact_match"}]})
        hands.answer(claim)
        assert hands.finish() == 2
        assert client.get(f"{JOBS}/{job_id}").json()["state"] == "completed"
        assert all(len(cell["scores"]) == 2 for cell in cells(client, job_id))

    def test_what_is_there_is_not_added_again(self, client, job_id):
        body = {"endpoints": ["a"], "scorers": [{"type": "contains"}], "repeats": 1}
        job = post(client, job_id, "extend", body)
        assert (job["counts"]["total"], job["extensions"]) == (4, [])
        assert history(client, job_id) == []

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, ""),
            ({"repeats": 0}, "/repeats"),
            ({"endpoints": ["c"]}, "/endpoints/0"),
            ({"endpoints": [{"name": "a", "params": {"max_tokens": 9}}]}, "/endpoints/0"),
            ({"scorers": [{"type": "contains", "normalize": ["casefold"]}]}, "/scorers/0/name"),
            ({"scorers": [{"type": "exact_match", "target": "色"}]}, "/scorers/1/target"),
            ({"rows": [{"object": "a\u0000"}]}, "/rows/0"),
            ({"rows": [{"object": "x"}], "dataset": {"name": "y"}}, ""),
        ],
    )
    def test_what_does_not_fit_is_refused_and_nothing_is_done(self, client, job_id, body, pointer):
        before = client.get(f"{JOBS}/{job_id}").json()
        problem = post(client, job_id, "extend", body, status=422)
        assert problem["errors"][0]["pointer"].startswith(pointer)
        now = client.get(f"{JOBS}/{job_id}").json()
        assert (now["counts"], now["extensions"]) == (before["counts"], [])

    def test_a_cancel_and_an_extension_at_once_leave_no_half_job(self, client, job_id):
        def request(what):
            body = {"repeats": 3} if what == "extend" else None
            return client.post(f"{JOBS}/{job_id}/{what}", json=body).status_code

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(request, ["cancel", "extend", "cancel", "extend"]))
        assert set(found) <= {202, 409}
        job = client.get(f"{JOBS}/{job_id}").json()
        assert job["state"] == "cancelled"
        assert job["counts"]["total"] in {4, 12}


def test_a_comparison_holds_an_extension_against_the_planned_cells(client, hands):
    job_id = client.post(JOBS, json=SPEC | {"endpoints": ["a"]}).json()["id"]
    hands.finish()
    post(client, job_id, "extend", {"endpoints": ["b"], "repeats": 2})
    before = client.get(f"/api/v1/comparisons?jobs={job_id}").json()["columns"]
    assert [(c["cells"], c["scores"]["contains"]["coverage"]) for c in before] == [
        (4, 0.5), (4, 0.0)
    ]  # fmt: skip
    hands.finish()
    done = client.get(f"/api/v1/comparisons?jobs={job_id}").json()["columns"]
    assert [c["scores"]["contains"]["coverage"] for c in done] == [1.0, 1.0]


def test_a_project_has_a_weight_and_lists_its_jobs(client):
    url = "/api/v1/projects/夜間"
    assert client.get(url).status_code == 404
    assert client.put(url, json={"weight": 2.5}).json()["weight"] == 2.5
    nightly = client.post(JOBS, json=SPEC | {"project": "夜間"}).json()
    client.post(JOBS, json=SPEC | {"project": "other"})
    assert client.get(url).json()["weight"] == 2.5
    names = [project["name"] for project in client.get("/api/v1/projects").json()["data"]]
    assert sorted(names) == sorted(["default", "other", "夜間"])
    found = client.get(JOBS, params={"project": "夜間"}).json()["data"]
    assert [job["id"] for job in found] == [nightly["id"]]
    for weight in (0, -1, "NaN", 1e9):
        assert client.put(url, json={"weight": weight}).status_code == 422
    assert client.post(JOBS, json=SPEC | {"project": "a/b"}).status_code == 422


def test_a_list_of_schedules_leaves_inline_rows_out(client):
    schedule = {"name": "夜", "cron": "0 2 * * *", "job": SPEC}
    added = client.post("/api/v1/schedules", json=schedule)
    assert added.status_code == 201, added.text
    (listed,) = client.get("/api/v1/schedules").json()["data"]
    assert (listed["n_rows"], "rows" in listed["job"]) == (2, False)
    assert listed["job"]["endpoints"] == SPEC["endpoints"]
    whole = client.get(f"/api/v1/schedules/{listed['id']}").json()
    assert whole["job"]["rows"] == SPEC["rows"]


def test_a_retry_keeps_the_old_results_until_new_ones_land(client, job_id, hands, sessions):
    hands.answer(hands.claim(), [Outcome.TIMEOUT])
    hands.finish()
    post(client, job_id, "retry-failed")
    with sessions() as session:
        outcomes = session.scalars(select(CellResult.outcome)).all()
    assert sorted(outcomes) == ["ok", "ok", "ok", "timeout"]
