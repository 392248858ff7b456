"""The whole loop on real parts: real models, real workers, Postgres, MLflow, schedules, chat."""

import csv
import io
import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT

pytestmark = pytest.mark.timeout(1200)  # a few minutes where nothing else runs

MODELS = ["smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct"]
CELLS = 128


@pytest.fixture(scope="module")
def models(product):
    pulled = product.run("models", "pull", timeout=600)
    assert pulled.returncode == 0, pulled.stderr
    return MODELS


@pytest.fixture(scope="module")
def first_job(product, models):
    ended = product.run("run", str(ROOT / "examples/first-job.yaml"), "--watch", timeout=900)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (job,) = [job for job in product.json("jobs") if job["name"] == "first-job"]
    return ended.stdout + ended.stderr, job["id"]


def test_the_first_job_ends_with_every_cell_recorded_and_a_comparison(product, first_job):
    shown, job_id = first_job
    (job,) = product.json("show", job_id)
    assert job["state"] == "completed"
    assert job["counts"]["done"] == job["counts"]["total"] == CELLS
    for model in MODELS:
        assert model in shown
    for word in ("coverage", "95 %", "MLflow", "p50 / p95", "tokens"):
        assert word in shown
    (compared,) = product.json("compare", job_id)
    for column in compared["columns"]:
        assert column["cells"] == CELLS // 2
        assert column["scores"]["contains"]["coverage"] == 1.0
        assert column["scores"]["contains"]["low"] <= column["scores"]["contains"]["mean"]
        assert column["latency_ms"]["p50"] <= column["latency_ms"]["p95"]
    versus = compared["columns"][1]["versus_baseline"]["contains"]
    assert versus["wins"] + versus["losses"] + versus["ties"] == versus["pairs"] == CELLS // 2


def test_run_again_it_answers_from_recorded_completions_and_says_so(product, first_job):
    ended = product.run(
        "run", str(ROOT / "examples/first-job.yaml"), "--wait", "--reuse", "--name", "again"
    )
    assert ended.returncode == 0, ended.stderr
    assert "recorded completions" in ended.stdout + ended.stderr
    (again,) = [job for job in product.json("jobs") if job["name"] == "again"]
    (job,) = product.json("show", again["id"])
    assert (job["reused"], job["calls"]) == (CELLS, 0)


def test_the_seed_prompt_reached_the_models_and_came_back_byte_for_byte(product, first_job, models):
    _, job_id = first_job
    exported = product.run("export", job_id, "--format", "jsonl")
    cells = [json.loads(line) for line in exported.stdout.splitlines()]
    assert len(cells) == CELLS
    colours = [cell for cell in cells if cell["variables"]["question"] == "は何色ですか?"]
    assert {cell["variables"]["object"] for cell in colours} >= {"りんご", "バナナ"}
    assert "\\u" not in exported.stdout
    table = product.run("export", job_id, "--format", "csv").stdout
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["completion"] for row in rows] == [cell["completion"] or "" for cell in cells]


def test_the_job_is_in_mlflow_with_every_character(product, first_job):
    _, job_id = first_job
    url = product.description["urls"]["mlflow"]
    assert _eventually(lambda: product.json("show", job_id)[0]["mlflow"]["state"] == "synced")
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    tracking = MlflowClient(url)
    parent = product.json("show", job_id)[0]["mlflow"]["run_id"]
    experiment = tracking.get_run(parent).info.experiment_id
    children = tracking.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert {run.data.params["model_route"] for run in children} == set(MODELS)
    for run in children:
        path = tracking.download_artifacts(run.info.run_id, "eval_results_table.json")
        raw = Path(path).read_bytes()
        assert "りんご".encode() in raw
        assert b"\\u" not in raw
        assert 0 <= run.data.metrics["contains/mean"] <= 1


def test_a_chat_call_is_answered_while_you_wait(client, models):
    answer = client.chat(
        models[1], prompt="{{object}}は何色ですか?", variables={"object": "りんご"}
    )
    assert answer["completion"].strip()
    assert answer["usage"]["output_tokens"] > 0


def test_a_schedule_fires_its_slot_once_and_the_job_runs(product, client):
    created = client.schedules.add(
        "毎分",
        cron="* * * * *",
        time_zone="Asia/Tokyo",
        job={
            "name": "nightly",
            "prompt": {"template": "{{q}}"},
            "rows": [{"q": "こんばんは", "expected": "こんばんは"}],
            "endpoints": ["echo"],
            "scorers": [{"type": "exact_match"}],
        },
    )
    fire_at = datetime.fromisoformat(created["next_fire_at"])
    assert fire_at - datetime.now(UTC) <= timedelta(seconds=60)
    assert _eventually(lambda: _nightly(product))
    product.run("schedule", "rm", created["id"])
    (job,) = _nightly(product)
    assert _eventually(lambda: product.json("show", job["id"])[0]["state"] == "completed")


def _nightly(product):
    return [job for job in product.json("jobs") if job["name"] == "nightly"]


def test_japanese_questions_through_two_local_models(client, models):
    """100 rows of JCommonsenseQA, where its folder is given by HIKAKU_REAL_DATA."""
    folder = os.environ.get("HIKAKU_REAL_DATA")
    if not folder:
        pytest.skip("HIKAKU_REAL_DATA is not set: the data set is not part of the repository")
    source = Path(folder) / "jcommonsenseqa/valid-v1.3.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()[:100]]
    asked = [row | {"id": str(row["q_id"]), "expected": str(row["label"])} for row in rows]
    job = client.evaluate(
        asked,
        name="jcommonsenseqa",
        prompt=(
            "{{question}}\n0: {{choice0}}\n1: {{choice1}}\n2: {{choice2}}\n3: {{choice3}}\n"
            "4: {{choice4}}\n正しい答えの番号だけを書いてください。"
        ),
        endpoints=MODELS,
        params={"temperature": 0, "max_tokens": 4},
        scorers=[{"type": "numeric"}],
    )
    job.wait(progress=False)
    assert job.counts["done"] == 200
    assert job.counts["failed"] == 0


def _eventually(condition, seconds: float = 240):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.5)
    return False
