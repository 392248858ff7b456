"""Jobs in a real MLflow server: everything comes back as it went in, once, whenever it returns."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from hikaku.extension import extend
from hikaku.jobs import JobState, Outcome, ShardState
from hikaku.settings import Settings
from hikaku.specs import Extension, JobSpec
from hikaku.storage import control, jobs, recording, tracking
from hikaku.storage.tables import Shard
from tests.support.gateway_server import free_port
from tests.support.jobs import identities, record, spec, store
from workers.tracking import Tracker
from workers.tracking.table import FILE

EXPERIMENT = "ひかく: 夜間 テスト 👩‍👩‍👧"
ODD = (
    "日本語 と \U00020bb7野家 👩‍👩‍👧‍👦🏳️‍🌈 か\u3099き\u3099 e\u0301 "
    "\u202eabc\u202c \u2067עברית\u2069 \u2028\u00a0\\u3042 \"'`<b>&amp; $& {{x}}\t\n末尾"
)
TEMPLATE = "次の問いに答えてください。\n{{質問}}\nか\u3099 👩‍👩‍👧"
PATIENCE = 120.0


@dataclass
class MlflowServer:
    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(
        default_factory=lambda: (
            os.environ
            | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        )
    )

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def start(self) -> None:
        with (self.folder / "mlflow.log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                    *("--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"),
                    *("--serve-artifacts", "--artifacts-destination", str(self.artifacts)),
                    *("--host", "127.0.0.1", "--port", str(self.port)),
                ],
                env=self.environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + PATIENCE
        while not self.answers():
            said = (self.folder / "mlflow.log").read_text(encoding="utf-8")[-3000:]
            assert self.process.poll() is None, said
            assert time.monotonic() < until, said
            time.sleep(0.2)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
            self.process = None


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = MlflowServer(tmp_path_factory.mktemp("mlflow"), free_port())
    started.start()
    yield started
    started.stop()


@pytest.fixture
def client(server):
    from mlflow import MlflowClient  # noqa: PLC0415

    return MlflowClient(tracking_uri=server.uri)


def settings(uri, **changes):
    given = {"mlflow_tracking_uri": uri, "mlflow_experiment": EXPERIMENT}
    return Settings(**given, public_url="https://hikaku.example/", **changes)


def odd_spec(**changes) -> JobSpec:
    given = {
        "name": "夜の比較 👩‍👩‍👧",
        "prompt": {"template": TEMPLATE},
        "rows": [
            {"id": "一", "質問": ODD, "expected": "赤"},
            {"id": "二", "質問": "空は何色ですか?", "expected": "青"},
            {"id": "三", "質問": "雪は?", "expected": "白"},
        ],
        "params": {"temperature": 0.5, "max_tokens": 64, "stop": ["。", "\n"]},
        "scorers": [{"type": "contains", "name": "正解 👍"}],
        "tags": {"担当": "評価チーム"},
    }
    return spec(**(given | changes))


def shard_ids(session, job_id):
    found = session.execute(select(Shard.endpoint, Shard.id).where(Shard.job_id == job_id))
    return {endpoint: shard for endpoint, shard in found}  # noqa: C416


def end(session, job_id):
    session.execute(
        update(Shard)
        .where(Shard.job_id == job_id)
        .values(state=ShardState.DONE, finished_at=func.now())
    )
    return jobs.close_if_ended(session, job_id)


@pytest.fixture
def ended(sessions):
    """A job whose cells on `a` are all answered and whose last row failed on `b`."""
    job_id = store(sessions, odd_spec()).job_id
    with sessions.begin() as session:
        shards = shard_ids(session, job_id)
        recording.record(
            session,
            [
                record(job_id, shards[0], row=0, completion=ODD, score=1.0),
                record(job_id, shards[0], row=1, completion="青", score=1.0),
                record(job_id, shards[0], row=2, completion="黒", score=0.0),
                record(job_id, shards[1], endpoint=1, row=0, completion="赤", score=1.0),
                record(job_id, shards[1], endpoint=1, row=1, completion="", score=0.0),
                record(job_id, shards[1], endpoint=1, row=2, outcome=Outcome.TIMEOUT),
            ],
        )
        assert end(session, job_id) is JobState.COMPLETED_WITH_ERRORS
    return job_id


def line_of(sessions, job_id):
    with sessions() as session:
        return tracking.get(session, job_id)


def runs_of(client, job_id):
    experiment = client.get_experiment_by_name(EXPERIMENT)
    found = client.search_runs([experiment.experiment_id], f"tags.`hikaku.job_id` = '{job_id}'")
    by_endpoint = {run.data.tags.get("hikaku.endpoint"): run for run in found}
    assert len(by_endpoint) == len(found), "a run was made twice"
    return by_endpoint


def download(client, run, name, folder):
    return Path(client.download_artifacts(run.info.run_id, name, str(folder))).read_bytes()


def test_a_job_becomes_a_run_with_a_run_per_endpoint(server, client, sessions, ended):
    Tracker(settings(server.uri), sessions).track(ended)

    runs = runs_of(client, ended)
    assert runs.keys() == {None, "a", "b"}
    parent, a, b = runs[None], runs["a"], runs["b"]
    line = line_of(sessions, ended)
    assert (line.state, line.error, line.run_id) == ("synced", None, parent.info.run_id)
    assert line.url == (
        f"{server.uri}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}"
    )
    assert parent.info.run_name == "夜の比較 👩‍👩‍👧"
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert parent.data.tags["hikaku.tags.担当"] == "評価チーム"
    assert parent.data.tags["hikaku.url"] == f"https://hikaku.example/api/v1/jobs/{ended}"
    for name, run in (("a", a), ("b", b)):
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.params["prompt_template"] == TEMPLATE
        assert run.data.params["model"] == f"{name}-model"
        assert run.data.params["temperature"] == "0.5"
        assert run.data.params["stop"] == "[。, \n]"
        assert run.data.params["dataset_rows"] == "3"
    metrics = b.data.metrics
    assert metrics["正解 _/mean"] == 0.5, "a failed cell is no zero"
    assert metrics["正解 _/coverage"] == pytest.approx(2 / 3)
    assert 0 < metrics["正解 _/low"] < 0.5 < metrics["正解 _/high"] < 1
    assert metrics["cells/timeout"] == 1
    assert metrics["cells/ok"] == 2
    assert metrics["latency_p50_ms"] == 12.5
    assert metrics["input_tokens"] == 14
    assert "cost_usd" not in metrics, "what is not known is not written"


def test_every_text_comes_back_as_it_went_in(server, client, sessions, ended, tmp_path):
    Tracker(settings(server.uri), sessions).track(ended)

    run = runs_of(client, ended)["a"]
    raw = download(client, run, FILE, tmp_path)
    for exact in (ODD, "空は何色ですか?", "正解 👍/score"):
        assert json.dumps(exact, ensure_ascii=False).encode() in raw
    table = json.loads(raw)
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["質問"] for row in rows] == [ODD, "空は何色ですか?", "雪は?"]
    assert rows[0]["output"] == ODD
    assert rows[0]["prompt"] == TEMPLATE.replace("{{質問}}", ODD)
    assert [row["expected"] for row in rows] == ["赤", "青", "白"]
    assert download(client, run, "prompt.txt", tmp_path).decode() == TEMPLATE
    assert json.loads(download(client, run, "prompt.json", tmp_path)) == [
        {"role": "user", "content": TEMPLATE}
    ]
    on_disk = [path.read_bytes() for path in server.artifacts.rglob(FILE)]
    assert raw in on_disk, "what the server keeps differs from what it serves"


def test_a_failed_cell_has_no_output_and_says_why(server, client, sessions, ended, tmp_path):
    Tracker(settings(server.uri), sessions).track(ended)
    table = json.loads(download(client, runs_of(client, ended)["b"], FILE, tmp_path))
    failed = dict(zip(table["columns"], table["data"][2], strict=True))
    assert failed["output"] is None
    assert failed["正解 👍/score"] is None
    assert (failed["outcome"], failed["error"]) == ("timeout", "Unavailable: gone")


def test_tracking_again_changes_nothing(server, client, sessions, ended, tmp_path):
    tracker = Tracker(settings(server.uri), sessions)
    tracker.track(ended)
    before = runs_of(client, ended)
    table = download(client, before["a"], FILE, tmp_path)
    with sessions.begin() as session:
        tracking.put(session, ended)
    tracker.track(ended)
    after = runs_of(client, ended)
    assert {k: v.to_dictionary() for k, v in after.items()} == {
        k: v.to_dictionary() for k, v in before.items()
    }
    history = client.get_metric_history(after["a"].info.run_id, "正解 _/mean")
    assert len(history) == 1
    assert download(client, after["a"], FILE, tmp_path) == table


def test_a_crash_half_way_leaves_nothing_double(server, client, sessions, ended, tmp_path):
    """The first try made a parent and a child with half a table, and died."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT)
    parent = client.create_run(experiment_id, tags={"hikaku.job_id": ended})
    child = client.create_run(
        experiment_id,
        tags={
            "hikaku.job_id": ended,
            "hikaku.endpoint": "a",
            "mlflow.parentRunId": parent.info.run_id,
        },
    )
    client.log_text(child.info.run_id, '{"columns":["質問"],"da', FILE)

    Tracker(settings(server.uri), sessions).track(ended)

    runs = runs_of(client, ended)
    assert runs.keys() == {None, "a", "b"}
    assert runs[None].info.run_id == parent.info.run_id
    assert runs["a"].info.run_id == child.info.run_id
    assert runs["a"].info.status == "FINISHED"
    assert len(json.loads(download(client, runs["a"], FILE, tmp_path))["data"]) == 3


def test_a_retried_job_updates_its_runs(server, client, sessions, ended, tmp_path):
    tracker = Tracker(settings(server.uri), sessions)
    tracker.track(ended)
    before = runs_of(client, ended)
    with sessions.begin() as session:
        job, cells = control.retry_failed(session, ended)
        assert cells == 1
    tracker.track(ended)
    assert line_of(sessions, ended).state == "synced", "while it runs, nothing is due"
    with sessions.begin() as session:
        retried = session.scalar(select(func.max(Shard.id)).where(Shard.job_id == ended))
        recording.record(session, [record(ended, retried, endpoint=1, row=2, round=job.round)])
        assert end(session, ended) is JobState.COMPLETED
    assert line_of(sessions, ended).state == "pending"

    tracker.track(ended)

    after = runs_of(client, ended)
    assert {k: v.info.run_id for k, v in after.items()} == {
        k: v.info.run_id for k, v in before.items()
    }
    metrics = after["b"].data.metrics
    assert metrics["正解 _/coverage"] == 1.0
    assert metrics["正解 _/mean"] == pytest.approx(2 / 3)
    assert metrics["cells/timeout"] == 0
    assert after["b"].data.tags["hikaku.state"] == "completed"
    table = json.loads(download(client, after["b"], FILE, tmp_path))
    assert dict(zip(table["columns"], table["data"][2], strict=True))["output"] == "赤"


def test_an_extended_job_keeps_its_runs_and_says_what_has_grown(server, client, sessions, ended):
    tracker = Tracker(settings(server.uri), sessions)
    tracker.track(ended)
    with sessions.begin() as session:
        extend(session, ended, Extension(repeats=2), identities("a", "b"))
        end(session, ended)

    tracker.track(ended)

    runs = runs_of(client, ended)
    assert line_of(sessions, ended).state == "synced", line_of(sessions, ended).error
    assert runs.keys() == {None, "a", "b"}
    assert runs["a"].data.params["repeats"] == "1"
    assert runs["a"].data.tags["hikaku.now.repeats"] == "2"


def test_two_at_once_make_one_set_of_runs(server, client, sessions, ended):
    trackers = [Tracker(settings(server.uri), sessions) for _ in range(2)]
    threads = [threading.Thread(target=t.track, args=(ended,)) for t in trackers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs_of(client, ended).keys() == {None, "a", "b"}
    assert line_of(sessions, ended).state == "synced"


def test_without_a_tracking_uri_nothing_is_tracked_and_nothing_lost(sessions, ended):
    Tracker(settings(None), sessions).track(ended)
    line = line_of(sessions, ended)
    assert (line.state, line.error, line.tries) == ("pending", None, 0)


def test_a_server_that_hangs_costs_one_timeout(sessions, ended, monkeypatch):
    import mlflow  # noqa: F401, PLC0415  # takes its time, too

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        Tracker(settings(f"http://me:secret@127.0.0.1:{port}"), sessions).track(ended)
        took = time.monotonic() - began
    line = line_of(sessions, ended)
    assert line.state == "pending"
    assert "timed out" in line.error.lower()
    assert "secret" not in line.error
    assert took < 30, "one second, and not one for each try"


def test_a_deleted_experiment_is_named(server, client, sessions, ended):
    name = "消した実験"
    client.delete_experiment(client.create_experiment(name))
    Tracker(settings(server.uri).model_copy(update={"mlflow_experiment": name}), sessions).track(
        ended
    )
    line = line_of(sessions, ended)
    assert line.state == "pending"
    assert "消した実験" in line.error


def test_mlflow_away_is_said_and_caught_up_with(server, client, sessions, ended):
    tracker = Tracker(settings(server.uri), sessions)
    server.stop()
    with sessions.begin() as session:
        assert tracking.due(session) == [ended]
    tracker.track(ended)
    line = line_of(sessions, ended)
    assert (line.state, line.tries, line.run_id) == ("pending", 1, None)
    assert "refused" in line.error

    server.start()
    until = time.monotonic() + PATIENCE
    while line_of(sessions, ended).state != "synced":  # as the sweep does it
        assert time.monotonic() < until
        with sessions.begin() as session:
            due = tracking.due(session)
        for job_id in due:
            tracker.track(job_id)
        time.sleep(0.2)
    assert line_of(sessions, ended).error is None
    assert runs_of(client, ended).keys() == {None, "a", "b"}
