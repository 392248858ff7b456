"""Batches from file to files: OpenAI's SDK, the API's process, real workers."""

import base64
import json
import struct
import sys
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import httpx2
import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import func, update
from starlette.testclient import TestClient

from api.context import Context
from api.main import create_app
from api.security import guard_for
from gateway.client import Gateway
from gateway.config import parse
from hikaku.queue import Queue, celery_app
from hikaku.storage import jobs
from hikaku.storage.connection import Reader, open_engine, open_sessions
from hikaku.storage.tables import Batch
from tests.clients.environments import run
from tests.integration.test_api.test_api_server import (
    MIB,
    Served,
    memory,
    serving,
    watching_memory,
)
from tests.support.database import TEMPLATE, sqlalchemy_url
from tests.support.services import short_directory
from tests.support.workers import Cluster, cluster

TEXT = "りんご 👩‍👩‍👧 か\u3099 שלום"
KEY = "sk-1234567890"


def endpoint(name, kind="chat", provider="echo", **config):
    return {
        "name": name,
        "endpoint_type": f"llm/v1/{kind}",
        "model": {"provider": provider, "name": f"{name}-model", "config": config},
    }


ENDPOINTS = [
    endpoint("chat"),
    endpoint("text", "completions"),
    endpoint("vectors", "embeddings"),
    endpoint("slow", provider="chaos", latency={"median_ms": 150}) | {"limits": {"concurrency": 8}},
]


@pytest.fixture(scope="module")
def database(migrated_postgres) -> Iterator[str]:
    name = f"t_{uuid4().hex}"
    admin = migrated_postgres.url_of("postgres")
    names = sql.Identifier(name), sql.Identifier(TEMPLATE)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template {}").format(*names))
    yield migrated_postgres.url_of(name)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("drop database {} with (force)").format(names[0]))


@pytest.fixture(scope="module")
def running(database, valkey) -> Iterator[Cluster]:
    engine = open_engine(sqlalchemy_url(database))
    sessions = open_sessions(engine)
    with (
        short_directory() as folder,
        cluster(folder, database, valkey.broker_url, sessions, ENDPOINTS, workers=1) as started,
    ):
        started.wait(lambda: bool(workers_of(started)), "a worker")
        yield started
    engine.dispose()


def workers_of(running):
    with running.sessions() as session:
        return jobs.queue_depth(session).workers


@pytest.fixture(scope="module")
def served_process(running, database, tmp_path_factory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("api")
    config = str(running.directory / "gateway.yaml")
    with serving(folder, database, HIKAKU_API_KEY=KEY, HIKAKU_GATEWAY_CONFIG=config) as served:
        yield served


@pytest.fixture(scope="module")
def url(served_process):
    return served_process.url


@pytest.fixture(scope="module")
def found(url):
    return run("mlflow3", "openai_batches.py", url, KEY, TEXT)


def test_a_batch_begins_as_validating_and_ends_completed(found):
    assert found["begun"] == ["validating", "batch", 86_400]
    batch = found["batch"]
    assert batch["status"] == "completed"
    assert batch["model"] == "chat"
    assert batch["request_counts"] == {"total": 62, "completed": 60, "failed": 2}
    assert batch["metadata"] == {"name": TEXT}
    times = [batch[f"{what}_at"] for what in ("created", "in_progress", "finalizing", "completed")]
    assert times == sorted(times)
    assert found["written"] == ["batch_output", f"{batch['id']}_output.jsonl", 3600]


def test_every_request_is_answered_once_with_the_whole_body(found):
    answers = found["answers"]
    assert [answer["custom_id"] for answer in answers] == [f"{TEXT} {n}" for n in range(60)]
    assert len({answer["id"] for answer in answers}) == 60
    for answer in answers:
        assert answer["id"].startswith("batch_req_")
        assert answer["error"] is None
        response = answer["response"]
        assert response["status_code"] == 200
        assert response["request_id"]
        body = response["body"]
        assert body["object"] == "chat.completion"
        assert body["choices"][0]["message"]["content"] == answer["custom_id"]
        assert body["choices"][0]["finish_reason"] == "stop"
    usage = found["batch"]["usage"]
    said = [answer["response"]["body"]["usage"] for answer in answers]
    assert usage["input_tokens"] == sum(one["prompt_tokens"] for one in said)
    assert usage["total_tokens"] == sum(one["total_tokens"] for one in said)
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}


def test_a_refused_request_is_in_the_error_file_as_a_client_would_have_read_it(found):
    streamed, unknown = found["refusals"]
    assert streamed["custom_id"] == f"{TEXT} 60"
    assert streamed["error"] is None
    assert streamed["response"]["status_code"] == 400
    assert streamed["response"]["body"]["error"]["param"] == "stream"
    assert unknown["response"]["body"]["error"]["type"] == "invalid_request_error"
    assert unknown["response"]["body"]["error"]["param"] == "logit_bias"


def test_other_interfaces_are_answered_in_their_own_words(found):
    others = found["others"]
    assert others["/v1/completions"][0]["choices"][0]["text"] == TEXT
    plain, packed = (body["data"][0]["embedding"] for body in others["/v1/embeddings"])
    floats = struct.unpack(f"<{len(plain)}f", base64.b64decode(packed))
    assert floats == pytest.approx(plain, abs=1e-6)
    response = others["/v1/responses"][0]
    assert response["object"] == "response"
    assert response["output"][0]["content"][0]["text"] == TEXT


def test_a_file_with_faults_is_refused_line_by_line(found):
    assert found["failed"] == ["failed", True, "list"]
    assert found["faults"] == [
        [2, "duplicate_custom_id", "custom_id"],
        [3, "model_mismatch", "body.model"],
        [4, "url_mismatch", "url"],
        [5, "missing_required_parameter", "method"],
    ]
    assert found["nobody"] == ["model_not_found", "body.model"]


def test_a_cancelled_batch_keeps_what_was_answered(found):
    assert found["cancelling"] == "cancelling"
    batch = found["cancelled"]
    assert batch["status"] == "cancelled"
    assert batch["cancelled_at"] >= batch["cancelling_at"]
    counts = batch["request_counts"]
    assert 20 <= counts["completed"] < 400
    assert counts["completed"] + counts["failed"] == counts["total"] == 400
    assert found["kept"] == [counts["completed"]] * 2
    assert found["left"]["response"] is None
    assert found["left"]["error"]["code"] == "batch_cancelled"


def test_the_sdk_lists_deletes_and_fails_as_at_openai(found):
    assert len(found["listed"]) == 7
    assert found["listed"] == sorted(found["listed"], reverse=True)
    assert sorted(set(found["files"])) == ["batch", "batch_output"]
    assert found["expires"] == 7200
    assert found["deleted"] is True
    assert found["errors"] == {
        "gone": ["NotFoundError", 404, "id", None],
        "no input": ["BadRequestError", 400, "input_file_id", None],
        "too late": ["ConflictError", 409, None, None],
        "unknown": ["NotFoundError", 404, "id", None],
        "window": ["BadRequestError", 400, "completion_window", "invalid_value"],
    }


@pytest.fixture
def brief(running) -> Iterator[TestClient]:
    """An API whose batches have an hour."""
    text = (running.directory / "gateway.yaml").read_text(encoding="utf-8")
    context = Context(
        sessions=running.sessions,
        reader=Reader(running.sessions.kw["bind"]),
        queue=Queue(celery_app(running.redis_url)),
        gateway=Gateway(parse(text, {})),
        guard=guard_for("127.0.0.1", SecretStr(KEY)),
        version="1",
        batch_window=timedelta(hours=1),
    )
    headers = {"authorization": f"Bearer {KEY}"}
    application = create_app(context)
    with TestClient(application, base_url="http://127.0.0.1:8420", headers=headers) as client:
        yield client


@pytest.mark.usefixtures("found")  # which counts the batches that there are
def test_what_is_left_when_the_time_is_up_expires_and_the_rest_is_kept(brief, running):
    lines = [
        {
            "custom_id": str(n),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "slow", "messages": [{"role": "user", "content": f"x{n}"}]},
        }
        for n in range(400)
    ]
    content = "\n".join(json.dumps(line) for line in lines)
    form = {"data": {"purpose": "batch"}, "files": {"file": ("a.jsonl", content)}}
    wanted = {
        "input_file_id": brief.post("/v1/files", **form).json()["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    batch_id = brief.post("/v1/batches", json=wanted).json()["id"]

    def now():
        return brief.get(f"/v1/batches/{batch_id}").json()

    assert now()["expires_at"] - now()["created_at"] == 3_600
    running.wait(lambda: now()["request_counts"]["completed"] > 0, "some to be answered")
    with running.sessions.begin() as session:  # the hour passes
        over = update(Batch).where(Batch.id == batch_id)
        session.execute(over.values(expires_at=func.clock_timestamp()))
    running.wait(lambda: now()["status"] == "expired", "the batch to expire")
    batch = now()
    assert batch["expired_at"] >= batch["expires_at"]
    counts = batch["request_counts"]
    assert 0 < counts["completed"] < 400
    assert counts["completed"] + counts["failed"] == 400
    left = brief.get(f"/v1/files/{batch['error_file_id']}/content").text.splitlines()
    assert len(left) == counts["failed"]
    last = json.loads(left[-1])
    assert last["custom_id"] == "399"
    assert last["response"] is None
    assert last["error"]["code"] == "batch_expired"


def test_a_batch_is_a_job_with_its_cells(found, brief):
    batch_id = found["batch"]["id"]
    listed = brief.get("/api/v1/jobs?limit=200").json()["data"]
    [job] = [job for job in listed if job["tags"] == {"batch": batch_id}]
    assert job["state"] == "completed_with_errors"
    assert job["counts"]["ok"] == 60
    assert job["prompt"]["request"] == "/v1/chat/completions"
    cells = brief.get(f"/api/v1/jobs/{job['id']}/cells?limit=200").json()["data"]
    assert [cell["row_key"] for cell in cells] == [f"{TEXT} {n}" for n in range(62)]
    assert cells[0]["completion"] == f"{TEXT} 0"
    assert cells[61]["outcome"] == "invalid_request"


def test_a_large_file_passes_through_flat_memory_both_ways(url, served_process):
    line = json.dumps({"custom_id": "x", "body": "あ" * 1_300}, ensure_ascii=False).encode() + b"\n"
    n = 64 * MIB // len(line)

    def form():
        yield b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(n // 10):
            yield line * 10
        yield b"\r\n--x--\r\n"

    headers = {"authorization": f"Bearer {KEY}"}
    kind = {"content-type": "multipart/form-data; boundary=x"}
    with httpx2.Client(base_url=url, headers=headers, timeout=120, trust_env=False) as client:
        client.get("/v1/files")
        before = memory(served_process)
        with watching_memory(served_process) as highest:
            file = client.post("/v1/files", content=form(), headers=kind).json()
            assert file["bytes"] == n // 10 * 10 * len(line)
            with client.stream("GET", f"/v1/files/{file['id']}/content") as answer:
                read = sum(len(chunk) for chunk in answer.iter_bytes())
        client.delete(f"/v1/files/{file['id']}")
    assert read == file["bytes"]
    growth = (highest[0] - before) / MIB
    sys.stdout.write(f"64 MiB in and out: {growth:.1f} MiB more memory\n")
    assert growth < 32
