"""Text goes through every door and comes out with the bytes it went in with."""

import csv
import io
import json
from typing import Any

import pytest
from sqlalchemy import select

from hikaku.storage import recording
from hikaku.storage.tables import Shard
from tests.support.jobs import record

CORPUS = {
    "japanese": "りんごは何色ですか？髙﨑・﨟・𠮟る",
    "emoji": "👩‍👩‍👧‍👦 👨🏽‍🚀 🏳️‍🌈 1️⃣",
    "combining": "e\u0301 が（か\u3099） Å vs A\u030a",
    "bidi": "abc \u202eעברית\u202c العربية \u2066x\u2069",
    "controls": "tab\t newline\n return\r\n bell\x07 escape\x1b del\x7f",
    "separators": "a\u2028b\u2029c\u00a0d\u3000e\ufefff",
    "markup": "<script>alert('x')</script> & \"quoted\" \\ {{ 7*7 }}",
    "astral": "\U0001f600\U00020000\U0010ffff\ue000",
    "widths": "ＡＢＣ１２３ ﾊﾝｶｸ ａ",
    "zero": "a\u200bb\u200cc\u200dd",
}


@pytest.fixture(params=sorted(CORPUS))
def text(request):
    return CORPUS[request.param]


def written(text):
    """The text as it stands inside a JSON document of ours."""
    return json.dumps(text, ensure_ascii=False)[1:-1].encode()


def unescaped(answer):
    """Nothing that could be written plainly was written as an escape."""
    assert answer.status_code < 300, answer.text
    assert b"\\u3" not in answer.content
    assert b"\\ud8" not in answer.content
    return answer.json()


def test_through_a_dataset_of_each_format(client, text):
    as_jsonl = json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n"
    escaped = json.dumps({"text": text}).encode() + b"\n"
    table = io.StringIO(newline="")
    csv.writer(table).writerows([["text"], [text]])
    bodies = [
        (as_jsonl, "application/x-ndjson"),
        (escaped, "application/x-ndjson"),
        (b"[" + as_jsonl + b"]", "application/json"),
        (table.getvalue().encode(), "text/csv"),
        (table.getvalue().encode("utf-16"), "text/csv"),
    ]
    for content, kind in bodies:
        made = client.post("/api/v1/datasets", content=content, headers={"content-type": kind})
        rows = unescaped(client.get(f"{made.headers['location']}/rows"))
        assert rows["data"][0]["data"] == {"text": text}, kind


def test_through_a_prompt_and_its_name(client, text):
    name = text[:200]
    answer = client.post("/api/v1/prompts", json={"name": name, "template": text, "note": text})
    made = unescaped(answer)
    assert made["messages"][0]["content"] == made["note"] == text
    assert made["name"] == name
    assert client.get(answer.headers["location"]).json() == made
    named = client.get("/api/v1/prompts", params={"name": name}).json()
    assert [prompt["id"] for prompt in named["data"]] == [made["id"]]


def test_through_chat(client, text):
    plain = {"endpoint": "a", "messages": [{"role": "user", "content": text}]}
    assert unescaped(client.post("/api/v1/chat", json=plain))["completion"] == text
    filled = {"endpoint": "a", "template": "{{質問}}", "variables": {"質問": text}}
    assert unescaped(client.post("/api/v1/chat", json=filled))["completion"] == text


def test_through_the_compatible_surface(client, text):
    asked = {"model": "a", "messages": [{"role": "user", "content": text}]}
    answer = client.post("/v1/chat/completions", json=asked)
    assert answer.json()["choices"][0]["message"]["content"] == text


def test_through_a_job_its_cells_and_its_exports(client, sessions, text):
    column = "列 \u200d👩‍🍳"
    spec: dict[str, Any] = {
        "name": text[:200],
        "prompt": {"template": "{{質問}}" + text},
        "rows": [{"質問": text, column: {"deep": [text]}, "expected": text}],
        "endpoints": ["a"],
        "scorers": [{"type": "contains", "name": "含む"}],
        "tags": {"鍵": text},
    }
    job = unescaped(client.post("/api/v1/jobs", json=spec))
    assert (job["name"], job["tags"]) == (text[:200], {"鍵": text})
    assert job["prompt"]["messages"][0]["content"] == "{{質問}}" + text
    with sessions() as session:
        shard = session.scalars(select(Shard.id)).one()
    with sessions.begin() as session:
        recording.record(session, [record(job["id"], shard, completion=text)])
    path = f"/api/v1/jobs/{job['id']}"
    (cell,) = unescaped(client.get(f"{path}/cells"))["data"]
    assert cell["completion"] == text
    assert cell["variables"] == spec["rows"][0]
    assert list(cell["scores"]) == ["含む"]
    exported = client.get(f"{path}/export")
    assert json.loads(exported.content) == cell
    assert written(text) in exported.content
    table = client.get(f"{path}/export?format=csv").content.decode()
    (row,) = csv.DictReader(io.StringIO(table, newline=""))
    assert (row["completion"], row["variables.質問"]) == (text, text)
    assert json.loads(row[f"variables.{column}"]) == {"deep": [text]}
    assert text[:200] in unescaped(client.get("/api/v1/jobs"))["data"][0]["name"]


def test_through_a_schedule(client, text):
    job = {"prompt": {"template": text}, "rows": [{"x": text}], "endpoints": ["a"]}
    new = {"name": text[:200], "cron": "0 2 * * *", "job": job}
    made = unescaped(client.post("/api/v1/schedules", json=new))
    assert made["name"] == text[:200]
    assert made["job"]["rows"] == [{"x": text}]


def test_through_a_problem(client, text):
    answer = client.post("/api/v1/chat", json={"endpoint": text[:200], "template": "x"})
    assert answer.status_code == 422
    assert text[:200] in answer.json()["detail"]


@pytest.mark.parametrize("bad", ["a\\u0000b", "\\ud800", "x\\udfff"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/prompts", '{{"name": "n", "template": "{bad}"}}'),
        ("/prompts", '{{"name": "{bad}", "template": "t"}}'),
        ("/chat", '{{"endpoint": "a", "template": "{bad}"}}'),
        (
            "/jobs",
            '{{"prompt": {{"template": "t"}}, "rows": [{{"{bad}": 1}}], "endpoints": ["a"]}}',
        ),
        ("/schedules", '{{"name": "{bad}", "cron": "0 2 * * *", "job": {{}}}}'),
        ("/datasets", '{{"a": "{bad}"}}'),
    ],
)
def test_what_is_not_text_stops_at_every_door(client, path, body, bad):
    kind = "application/x-ndjson" if path == "/datasets" else "application/json"
    content = body.format(bad=bad).encode()
    answer = client.post(f"/api/v1{path}", content=content, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input"), answer.text
    assert answer.json()["errors"][0]["pointer"]
