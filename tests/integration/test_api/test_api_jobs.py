import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from hikaku.jobs import JobState
from hikaku.storage.tables import IdempotencyKey, Job, Shard

ROUTE = "/api/v1/jobs"
SPEC = {
    "prompt": {"template": "{{object}}は何色ですか?"},
    "rows": [{"object": "りんご", "expected": "赤"}, {"object": "空", "expected": "青"}],
    "endpoints": ["a", {"name": "b", "params": {"temperature": 0.5}}],
    "params": {"max_tokens": 8},
    "scorers": [{"type": "contains"}],
    "tags": {"team": "評価"},
}
COUNTS = {
    "total", "done", "pending", "failed", "ok", "truncated", "refused", "invalid_request",
    "rate_limited", "timeout", "provider_error", "malformed", "budget_skipped", "cancelled",
}  # fmt: skip


def count(sessions, table):
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_a_job_is_stored_and_its_shards_are_queued_after_the_commit(client, sessions, queue):
    answer = client.post(ROUTE, json=SPEC)
    assert answer.status_code == 201, answer.text
    job = answer.json()
    assert answer.headers["location"] == f"{ROUTE}/{job['id']}"
    with sessions() as session:
        shards = set(session.scalars(select(Shard.id).where(Shard.job_id == job["id"])))
    assert {hint.shard_id for hint in queue.hints} == shards


def test_a_job_has_the_shape_of_the_contract(client):
    job = client.post(ROUTE, json=SPEC).json()
    assert client.get(f"{ROUTE}/{job['id']}").json() == job
    assert set(job["counts"]) == COUNTS
    assert job["counts"]["total"] == job["counts"]["pending"] == 4
    assert job["state"] == "queued"
    assert job["started_at"] is job["finished_at"] is job["rate_per_second"] is None
    assert (job["cost_usd"], job["cost_unknown_calls"]) == ("0", 0)
    assert job["tokens"] == {"input": None, "output": None}
    assert [e["name"] for e in job["endpoints"]] == ["a", "b"]
    assert job["endpoints"][1]["params"] == {"max_tokens": 8, "temperature": 0.5}
    assert job["endpoints"][0]["counts"]["total"] == 2
    assert job["prompt"]["messages"] == [{"role": "user", "content": "{{object}}は何色ですか?"}]
    assert job["dataset"]["n_rows"] == 2
    assert job["scorers"][0]["target"] == "expected"
    assert job["baseline"] == "a"
    assert job["tags"] == {"team": "評価"}
    assert job["mlflow"] == {"state": "off", "run_id": None, "url": None, "error": None}
    assert job["links"]["cells"] == f"{ROUTE}/{job['id']}/cells"
    assert job["created_at"].endswith("Z")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"endpoints": ["a", "nowhere"]}, "/endpoints/1"),
        ({"prompt": {"template": "{{color}}"}}, "/prompt"),
        ({"prompt": {"template": "{{object"}}, "/prompt/template"),
        (
            {"prompt": {"messages": [{"role": "user", "content": "｛｛x｝｝"}]}},
            "/prompt/messages/0/content",
        ),
        ({"prompt": {"name": "nowhere"}}, "/prompt"),
        ({"baseline": "c"}, "/baseline"),
        ({"scorers": [{"type": "exactmatch"}]}, "/scorers/0/type"),
        ({"rows": None, "dataset": {"name": "nowhere"}}, "/dataset"),
        ({"rows": None, "dataset": {"id": "ds_nonsense"}}, "/dataset"),
        ({"prompt": {"id": "nonsense"}}, "/prompt"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place_and_nothing_is_left(
    client, sessions, queue, change, pointer
):
    spec = {key: value for key, value in (SPEC | change).items() if value is not None}
    answer = client.post(ROUTE, json=spec)
    assert answer.status_code == 422, answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert count(sessions, Job) == 0
    assert queue.hints == []


def test_jobs_name_stored_prompts_and_datasets(client):
    prompt = client.post("/api/v1/prompts", json={"name": "色", "template": "{{object}}?"}).json()
    client.post("/api/v1/datasets?name=colors", content=b'{"object": "x", "expected": "y"}\n')
    spec = SPEC | {"prompt": {"name": "色"}, "dataset": {"name": "colors"}}
    del spec["rows"]
    job = client.post(ROUTE, json=spec).json()
    assert job["prompt"]["id"] == prompt["id"]
    assert (job["dataset"]["name"], job["dataset"]["revision"]) == ("colors", 1)


def test_jobs_are_listed_newest_first_by_state_and_page(client):
    made = [client.post(ROUTE, json=SPEC).json()["id"] for _ in range(5)]
    client.post(f"{ROUTE}/{made[0]}/cancel")
    page = client.get(f"{ROUTE}?limit=2").json()
    rest = client.get(f"{ROUTE}?after={page['last_id']}&limit=10").json()
    assert [job["id"] for job in page["data"] + rest["data"]] == made[::-1]
    assert (page["has_more"], rest["has_more"]) == (True, False)
    cancelled = client.get(f"{ROUTE}?state=cancelled").json()["data"]
    assert [job["id"] for job in cancelled] == [made[0]]


def test_a_cancelled_job_is_cancelled_once_and_stays(client):
    job = client.post(ROUTE, json=SPEC).json()["id"]
    answer = client.post(f"{ROUTE}/{job}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "cancelled")
    assert client.post(f"{ROUTE}/{job}/cancel").status_code == 202


def test_a_running_job_has_nothing_to_retry(client):
    job = client.post(ROUTE, json=SPEC).json()["id"]
    answer = client.post(f"{ROUTE}/{job}/retry-failed")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    answer = client.post(f"{ROUTE}/{job}/retry-failed", json={"outcomes": ["ok"]})
    assert answer.status_code in {409, 422}
    answer = client.post(f"{ROUTE}/{job}/retry-failed", json={"outcomes": ["nonsense"]})
    assert answer.json()["errors"][0]["pointer"] == "/outcomes/0"


@pytest.mark.parametrize("path", ["", "/cells", "/events", "/export"])
def test_a_job_that_is_not_there_is_404(client, path):
    for job in ("job_01kbd2m6v1e0g8x3h5t7q9wz4c", "job_", "ds_01kbd2m6v1e0g8x3h5t7q9wz4c", "x"):
        answer = client.get(f"{ROUTE}/{job}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


def test_twenty_identical_posts_at_once_make_one_job(client, sessions, queue):
    sent = json.dumps(SPEC)
    headers = {"idempotency-key": "once", "content-type": "application/json"}

    def post(_):
        while True:
            answer = client.post(ROUTE, content=sent, headers=headers)
            if answer.status_code != 409:
                return answer
            assert answer.json()["code"] == "request_in_flight"

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert count(sessions, Job) == 1
    assert len(queue.hints) == len({hint.shard_id for hint in queue.hints})


def test_a_key_with_another_body_is_refused(client, sessions):
    headers = {"idempotency-key": "k"}
    assert client.post(ROUTE, json=SPEC, headers=headers).status_code == 201
    answer = client.post(ROUTE, json=SPEC | {"repeats": 2}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert count(sessions, Job) == 1


def test_the_same_key_on_another_route_is_another_request(client):
    headers = {"idempotency-key": "k"}
    assert client.post(ROUTE, json=SPEC, headers=headers).status_code == 201
    prompt = {"name": "p", "template": "x"}
    assert client.post("/api/v1/prompts", json=prompt, headers=headers).status_code == 201


def test_a_refused_request_keeps_no_answer(client, sessions):
    headers = {"idempotency-key": "k"}
    assert client.post(ROUTE, json=SPEC | {"baseline": "z"}, headers=headers).status_code == 422
    assert count(sessions, IdempotencyKey) == 0
    assert client.post(ROUTE, json=SPEC, headers=headers).status_code == 201


def test_work_that_fails_leaves_neither_job_nor_answer(client, sessions, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("killed between the work and its answer")

    monkeypatch.setattr("api.job_answers.job_out", fail)
    answer = client.post(ROUTE, json=SPEC, headers={"idempotency-key": "k"})
    assert answer.status_code == 500
    assert count(sessions, Job) == count(sessions, IdempotencyKey) == 0


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "鍵".encode()])
def test_a_key_that_is_none_is_refused(client, key):
    answer = client.post(ROUTE, json=SPEC, headers={"idempotency-key": key})
    assert answer.status_code == 422


def test_the_state_of_the_service_counts_shards(client, queue):
    client.post(ROUTE, json=SPEC)
    status = client.get("/api/v1/status").json()
    assert status["version"] == "1.2.3"
    assert status["queue"]["queued_shards"] == len(queue.hints) > 0
    assert status["queue"]["workers"] == []
    assert client.get("/ready").json() == {"status": "ok"}


def test_final_states_are_the_ones_the_stream_ends_on():
    final = {state for state in JobState if state.is_final}
    assert final == {"completed", "completed_with_errors", "failed", "cancelled"}
