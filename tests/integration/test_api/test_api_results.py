"""Cells, exports and events of jobs whose results were recorded without a worker."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from hikaku.jobs import Outcome
from hikaku.storage import recording
from hikaku.storage.tables import Job, JobEvent, Shard
from tests.support.jobs import record

ROUTE = "/api/v1/jobs"
SPEC: dict[str, Any] = {
    "name": "色/テスト",
    "prompt": {"template": "{{object}}は何色ですか?"},
    "rows": [
        {"id": "r0", "object": "りんご", "expected": "赤"},
        {"id": "r1", "object": "=HYPERLINK(1)", "expected": "青"},
        {"id": "r2", "object": "-5", "expected": "x"},
    ],
    "endpoints": ["a", "b"],
    "scorers": [{"type": "contains", "name": "hit"}],
}


@pytest.fixture
def job(client, sessions):
    """Two endpoints x three rows; one failed, one row of b is missing."""
    job_id = client.post(ROUTE, json=SPEC).json()["id"]
    with sessions() as session:
        found = session.execute(select(Shard.endpoint, Shard.id).where(Shard.job_id == job_id))
        shards = dict(list(found))
    records = [
        record(job_id, shards[0], endpoint=0, row=0),
        record(job_id, shards[0], endpoint=0, row=1, completion='@青\n"改行"', score=None),
        record(job_id, shards[0], endpoint=0, row=2, outcome=Outcome.TIMEOUT),
        record(job_id, shards[1], endpoint=1, row=0, completion="👩‍🍳", score=0.0),
        record(job_id, shards[1], endpoint=1, row=1),
    ]
    with sessions.begin() as session:
        recording.record(session, records)
    return job_id


def cells(client, job, query=""):
    return client.get(f"{ROUTE}/{job}/cells{query}").json()


def test_cells_come_with_row_and_scores(client, job):
    found = cells(client, job)
    assert [cell["id"] for cell in found["data"]] == ["0.0.0", "0.1.0", "0.2.0", "1.0.0", "1.1.0"]
    first = found["data"][0]
    assert set(first) == {
        "id", "row", "row_key", "endpoint", "repeat", "outcome", "completion", "finish_reason",
        "input_tokens", "output_tokens", "latency_ms", "cost_usd", "error", "attempts", "reused",
        "variables", "scores",
    }  # fmt: skip
    assert first["variables"] == SPEC["rows"][0]
    assert (first["row_key"], first["endpoint"], first["latency_ms"]) == ("r0", "a", 12.5)
    assert first["scores"] == {"hit": {"value": 1.0, "unscored": None, "detail": None}}


def test_a_failed_cell_has_an_error_and_no_score(client, job):
    failed = cells(client, job, "?outcome=timeout")["data"]
    assert [cell["id"] for cell in failed] == ["0.2.0"]
    assert failed[0]["scores"] == {}
    assert failed[0]["completion"] is None
    assert failed[0]["error"]


def test_cells_are_filtered_and_paged(client, job):
    assert [c["id"] for c in cells(client, job, "?endpoint=b")["data"]] == ["1.0.0", "1.1.0"]
    both = cells(client, job, "?outcome=timeout&outcome=ok&endpoint=a")["data"]
    assert len(both) == 3
    first = cells(client, job, "?limit=2")
    rest = cells(client, job, f"?after={first['last_id']}")
    assert [c["id"] for c in rest["data"]] == ["0.2.0", "1.0.0", "1.1.0"]
    assert (first["has_more"], rest["has_more"]) == (True, False)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("?endpoint=c", "query endpoint"),
        ("?outcome=nope", "query outcome 0"),
        ("?after=1", "query after"),
        ("?after=0.0.99999999999", "query after"),
        ("?limit=1000", "query limit"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(client, job, query, pointer):
    answer = client.get(f"{ROUTE}/{job}/cells{query}")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_the_job_counts_what_was_recorded(client, job):
    counts = client.get(f"{ROUTE}/{job}").json()["counts"]
    assert (counts["total"], counts["done"], counts["pending"]) == (6, 5, 1)
    assert (counts["ok"], counts["timeout"], counts["failed"]) == (4, 1, 1)


def test_an_export_holds_every_cell_exactly(client, job):
    answer = client.get(f"{ROUTE}/{job}/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert "filename*=UTF-8''%E8%89%B2%2F" in answer.headers["content-disposition"]
    lines = [json.loads(line) for line in answer.content.decode().splitlines()]
    assert lines == cells(client, job)["data"]
    assert "りんご".encode() in answer.content


def table(content):
    return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))


def test_a_table_is_exact_unless_it_is_for_a_spreadsheet(client, job):
    raw = client.get(f"{ROUTE}/{job}/export?format=csv")
    assert not raw.content.startswith(b"\xef\xbb\xbf")
    rows = table(raw.content)
    assert [row["completion"] for row in rows] == ["赤", '@青\n"改行"', "", "👩‍🍳", "赤"]
    assert [row["variables.object"] for row in rows][:3] == ["りんご", "=HYPERLINK(1)", "-5"]
    assert [row["scores.hit"] for row in rows] == ["1.0", "", "", "0.0", "1.0"]
    safe = client.get(f"{ROUTE}/{job}/export?format=csv&excel=true")
    assert safe.content.startswith(b"\xef\xbb\xbf")
    rows = table(safe.content)
    assert rows[1]["completion"] == '\'@青\n"改行"'
    assert [row["variables.object"] for row in rows][:3] == ["りんご", "'=HYPERLINK(1)", "-5"]


def frames(text):
    """Parse Server-Sent Events as a browser does."""
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines() if line[:1] != ":"]
        fields = {name: value for name, _, value in lines}
        if "data" in fields:
            yield fields.get("id"), fields["event"], json.loads(fields["data"])


def test_the_stream_of_an_ended_job_tells_all_and_ends(client, job):
    client.post(f"{ROUTE}/{job}/cancel")
    answer = client.get(f"{ROUTE}/{job}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = list(frames(answer.text))
    states = [data["state"] for _, event, data in told if event == "state"]
    assert states[0] == "queued"
    assert states[-1] in {"cancelled", "cancelling"}
    (progress,) = [data for _, event, data in told if event == "progress"]
    assert set(progress) == {"state", "counts", "rate_per_second", "eta_seconds"}
    assert progress["counts"]["done"] == 5


def test_the_stream_goes_on_where_the_reader_left_off(client, sessions, job):
    client.post(f"{ROUTE}/{job}/cancel")
    told = [f for f in frames(client.get(f"{ROUTE}/{job}/events").text) if f[1] != "progress"]
    seen = told[0][0]
    again = client.get(f"{ROUTE}/{job}/events", headers={"last-event-id": seen})
    rest = [f for f in frames(again.text) if f[1] != "progress"]
    assert rest == told[1:]
    with sessions() as session:
        numbers = session.scalars(select(JobEvent.seq).where(JobEvent.job_id == job))
        assert [int(number) for number, _, _ in told] == sorted(numbers)


@pytest.mark.parametrize("seen", ["x", "-1", "9" * 30])
def test_an_event_number_that_is_none_is_refused(client, job, seen):
    answer = client.get(f"{ROUTE}/{job}/events", headers={"last-event-id": seen})
    assert answer.status_code == 422


def test_a_finished_job_has_its_mean_rate(client, sessions, job):
    start = datetime(2031, 4, 1, tzinfo=UTC)
    with sessions.begin() as session:
        row = session.get_one(Job, job)
        row.started_at, row.finished_at = start, start + timedelta(seconds=2)
        row.state = "completed_with_errors"
    shown = client.get(f"{ROUTE}/{job}").json()
    assert (shown["rate_per_second"], shown["eta_seconds"]) == (2.5, None)


def compared(client, query):
    answer = client.get(f"/api/v1/comparisons?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_comparison_holds_the_endpoints_against_the_baseline(client, job):
    found = compared(client, f"jobs={job}")
    assert found["baseline"] == {"job": job, "endpoint": "a"}
    assert found["confidence"] == 0.95
    a, b = found["columns"]
    assert (a["endpoint"], a["cells"], a["outcomes"]) == ("a", 3, {"ok": 2, "timeout": 1})
    # One of three planned cells has a value: the failed and the unscored one are no zeros.
    assert (a["scores"]["hit"]["n"], a["scores"]["hit"]["mean"]) == (1, 1.0)
    assert a["scores"]["hit"]["coverage"] == pytest.approx(1 / 3)
    assert (b["scores"]["hit"]["n"], b["scores"]["hit"]["mean"]) == (2, 0.5)
    assert a["versus_baseline"] is None
    versus = b["versus_baseline"]["hit"]
    assert (versus["pairs"], versus["difference"], versus["losses"]) == (1, -1.0, 1)
    assert a["latency_ms"]["p50"] == 12.5
    assert a["tokens"] == {"input": 14, "output": 4}
    assert {"unfinished", "failed_cells", "unequal_coverage"} <= {
        w["code"] for w in found["warnings"]
    }


def test_a_comparison_takes_any_baseline_and_several_jobs(client, job):
    other = client.post(ROUTE, json=SPEC).json()["id"]
    found = compared(client, f"jobs={job},{other}&baseline={other}:b&confidence=0.9")
    assert found["baseline"] == {"job": other, "endpoint": "b"}
    assert [(c["job"], c["endpoint"]) for c in found["columns"]] == [
        (job, "a"), (job, "b"), (other, "a"), (other, "b"),
    ]  # fmt: skip
    assert compared(client, f"jobs={job}&baseline=b")["baseline"]["endpoint"] == "b"


@pytest.mark.parametrize(
    ("query", "status", "pointer"),
    [
        ("", 422, "query jobs"),
        ("jobs=,", 422, "query jobs"),
        ("jobs=x", 404, None),
        ("jobs=a%00b", 404, None),
        ("jobs=job_01kbd2m6v1e0g8x3h5t7q9wz4c", 404, None),
        ("jobs={job}&baseline=z", 422, "query baseline"),
        ("jobs={job}&confidence=1.5", 422, "query confidence"),
        ("jobs={job}&confidence=nan", 422, "query confidence"),
    ],
)
def test_a_comparison_of_nothing_is_refused(client, job, query, status, pointer):
    answer = client.get(f"/api/v1/comparisons?{query.format(job=job)}")
    assert answer.status_code == status, answer.text
    assert pointer is None or answer.json()["errors"][0]["pointer"] == pointer
