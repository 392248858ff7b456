"""Watching a job by its stream, and controlling it from Python and the command line."""

import json

import httpx2
import pytest
from hikaku_client.events import frames

from tests.unit.client.fake import counts, job, problem

ID = "job_01kb2v6x3f4n8q0r5s7t9w1y2z"


def progress(state: str, done: int) -> str:
    moment = {
        "state": state,
        "counts": counts(120, ok=done),
        "rate_per_second": 2.0,
        "eta_seconds": 1.0,
    }
    return f"event: progress\ndata: {json.dumps(moment)}\n\n"


def stream(*parts: str) -> httpx2.Response:
    return httpx2.Response(
        200, content="".join(parts).encode(), headers={"content-type": "text/event-stream"}
    )


def state(seq: int, name: str) -> str:
    return f'id: {seq}\nevent: state\ndata: {{"state":"{name}","at":"2026-11-21T02:00:00Z"}}\n\n'


def test_events_are_cut_wherever_the_bytes_are():
    text = (
        "retry: 2000\n\n: ping\n\nid: 4\r\nevent: state\r\ndata: 色\r\n\r\n"
        "event: x\n\ndata: a\ndata: b\n\n"
    )
    whole = [{"id": "4", "event": "state", "data": "色"}, {"data": "a\nb"}]
    raw = text.encode()
    for size in (1, 2, 3, 7, 1_000):
        assert list(frames(raw[i : i + size] for i in range(0, len(raw), size))) == whole


@pytest.fixture
def watched(server, client):
    server.on("POST /jobs", job(state="running", counts=counts(120)))
    return client.submit({})


def test_a_job_is_watched_by_its_stream(server, watched):
    server.on(f"GET /jobs/{ID}/events", stream(progress("running", 60), progress("completed", 120)))
    server.on(f"GET /jobs/{ID}", job())
    assert watched.wait(progress=False).state == "completed"
    looks = [request for request in server.requests if request.url.path.endswith(ID)]
    assert len(looks) == 1, "the whole job is read once, at its end"


def test_a_stream_that_breaks_is_gone_on_with_behind_the_last_event(server, watched):
    broken = stream(state(41, "running"), progress("running", 60))
    server.on(f"GET /jobs/{ID}/events", broken, httpx2.ReadError("gone"),
              stream(progress("completed", 120), state(58, "completed")))  # fmt: skip
    server.on(f"GET /jobs/{ID}", job(state="running", counts=counts(120, ok=60)),
              job(state="running", counts=counts(120, ok=60)), job())  # fmt: skip
    assert watched.wait(progress=False).state == "completed"
    seen = [
        request.headers.get("last-event-id")
        for request in server.requests
        if request.url.path.endswith("/events")
    ]
    assert seen == [None, "41", "41"]


@pytest.mark.parametrize(
    "refusal",
    [problem(404, "no such path"), problem(503, "too many"), httpx2.Response(200, text="<")],
)
def test_without_a_stream_the_job_is_looked_at(server, watched, refusal):
    server.on(f"GET /jobs/{ID}/events", refusal)
    server.on(f"GET /jobs/{ID}", job(state="running", counts=counts(120, ok=60)), job())
    assert watched.wait(progress=False).state == "completed"
    assert sum(request.url.path.endswith("/events") for request in server.requests) == 1


def test_controls_are_sent(server, watched):
    for what in ("pause", "resume", "extend", "retry-failed"):
        server.on(f"POST /jobs/{ID}/{what}", job(state="running"))
    assert watched.pause().state == "running"
    watched.resume()
    watched.extend(endpoints=["b"], scorers=["contains"], dataset="ds_1", repeats=2)
    assert server.sent() == {
        "endpoints": ["b"], "scorers": [{"type": "contains"}], "dataset": {"id": "ds_1"},
        "repeats": 2,
    }  # fmt: skip
    assert "idempotency-key" in server.requests[-1].headers
    watched.retry_failed(endpoints=["b"], cells=["0.1.0"])
    assert server.sent() == {"endpoints": ["b"], "cells": ["0.1.0"]}


def test_controls_are_commands(server, hikaku, tmp_path):
    server.on(f"GET /jobs/{ID}", job())
    for what in ("pause", "resume", "extend", "retry-failed"):
        server.on(f"POST /jobs/{ID}/{what}", job(state="running"))
    assert hikaku("pause", ID).exit_code == 0
    assert hikaku("resume", ID).exit_code == 0
    assert hikaku("retry", ID, "--cell", "0.1.0", "--outcome", "timeout").exit_code == 0
    assert server.sent() == {"outcomes": ["timeout"], "cells": ["0.1.0"]}
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"object": "海"}\n\n', encoding="utf-8")
    assert hikaku("extend", ID, "--rows", str(rows), "--repeats", "2").exit_code == 0
    assert server.sent() == {"rows": [{"object": "海"}], "repeats": 2}
    assert hikaku("extend", ID).exit_code == 2
    rows.write_text('{"object": ', encoding="utf-8")
    assert "line 1" in hikaku("extend", ID, "--rows", str(rows)).stderr


def test_a_retry_offers_what_can_be_retried(server, hikaku):
    refused = hikaku("retry", ID, "--outcome", "bogus")
    assert refused.exit_code == 2
    assert "'timeout'" in refused.stderr
    assert "'ok'" not in refused.stderr
    assert not server.requests


@pytest.mark.parametrize(
    ("before", "said"), [("running", "Cancelling"), ("cancelled", "is cancelled already")]
)
def test_a_job_is_cancelled_once(server, hikaku, before, said):
    server.on(f"GET /jobs/{ID}", job(state=before))
    server.on(f"POST /jobs/{ID}/cancel", job(state="cancelled"))
    result = hikaku("cancel", ID)
    assert result.exit_code == 0
    assert said in result.stderr


@pytest.mark.parametrize("wrong", ["", "a/b"])
def test_what_is_no_id_is_no_path_either(server, hikaku, wrong):
    assert f"there is no job {wrong!r}" in hikaku("show", wrong).stderr
    assert not server.requests


def test_jobs_of_a_project_are_listed(server, hikaku):
    server.on("GET /jobs", {"data": [job()], "first_id": ID, "last_id": ID, "has_more": False})
    assert hikaku("jobs", "--project", "夜間").exit_code == 0
    assert server.asked("GET /api/v1/jobs")[0]["project"] == ["夜間"]
