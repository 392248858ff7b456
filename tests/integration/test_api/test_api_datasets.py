import json
from itertools import pairwise

import pytest
from sqlalchemy import func, select

from hikaku.storage import datasets
from hikaku.storage.tables import Dataset, DatasetRevision, DatasetRow

ROUTE = "/api/v1/datasets"
JSONL = '{"id": "r1", "object": "りんご", "n": 1.0}\n{"object": "空", "deep": {"z": [1, null]}}\n'


def stored(sessions):
    with sessions() as session:
        tables = (Dataset, DatasetRevision, DatasetRow)
        return [session.scalar(select(func.count()).select_from(table)) for table in tables]


def upload(client, content, kind="application/x-ndjson", query="", **headers):
    content = content.encode() if isinstance(content, str) else content
    sent = {"content-type": kind} | headers
    return client.post(f"{ROUTE}{query}", content=content, headers=sent)


def test_an_upload_becomes_a_revision_with_its_rows_in_order(client):
    answer = upload(client, JSONL, query="?name=色")
    assert answer.status_code == 201, answer.text
    revision = answer.json()
    assert answer.headers["location"] == f"{ROUTE}/{revision['id']}"
    assert (revision["name"], revision["revision"], revision["rows"]) == ("色", 1, 2)
    assert revision["columns"] == ["id", "object", "n", "deep"]
    assert revision["source"] == "jsonl"
    assert client.get(answer.headers["location"]).json() == revision
    rows = client.get(f"{ROUTE}/{revision['id']}/rows").json()
    assert [row["data"] for row in rows["data"]] == [
        json.loads(line) for line in JSONL.splitlines()
    ]
    assert [row["row"] for row in rows["data"]] == [0, 1]
    assert rows["data"][0]["row_key"] == "r1"
    assert (rows["first_id"], rows["last_id"], rows["has_more"]) == ("0", "1", False)


def test_the_same_content_under_the_same_name_is_the_same_revision(client, sessions):
    first = upload(client, JSONL, query="?name=x")
    again = upload(client, JSONL, query="?name=x")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert stored(sessions) == [1, 1, 2]
    changed = upload(client, JSONL.replace("空", "海"), query="?name=x")
    assert (changed.status_code, changed.json()["revision"]) == (201, 2)
    other = upload(client, JSONL, query="?name=y")
    assert (other.status_code, other.json()["revision"]) == (201, 1)
    assert stored(sessions) == [2, 3, 6]


def test_without_a_name_a_revision_has_an_id_and_is_not_listed(client):
    revision = upload(client, JSONL).json()
    assert (revision["name"], revision["revision"]) == (None, None)
    assert client.get(f"{ROUTE}/{revision['id']}").status_code == 200
    assert client.get(ROUTE).json()["data"] == []


@pytest.mark.parametrize(
    ("content", "kind", "query"),
    [
        ("object,expected\nりんご,赤\n", "text/csv", ""),
        ("object,expected\r\nりんご,赤\r\n".encode("cp932"), "text/csv", "?encoding=cp932"),
        ("object\texpected\nりんご\t赤\n", "text/tab-separated-values", ""),
        ("\ufeffobject,expected\nりんご,赤\n", "application/octet-stream", "?format=csv"),
        ('[{"object": "りんご", "expected": "赤"}]', "application/json", ""),
        ('{"object": "りんご", "expected": "赤"}', "application/x-ndjson", ""),
        ('{"object": "\\u308a\\u3093\\u3054", "expected": "赤"}', "", ""),
        ("object,expected\nりんご,赤\n".encode("utf-16"), "text/csv", ""),
    ],
)
def test_every_format_and_encoding_gives_the_same_rows(client, content, kind, query):
    revision = upload(client, content, kind, query).json()
    rows = client.get(f"{ROUTE}/{revision['id']}/rows").json()["data"]
    assert [row["data"] for row in rows] == [{"object": "りんご", "expected": "赤"}]


def test_a_form_is_read_like_a_body(client):
    files = {"file": ("色.csv", "object\nりんご\n".encode(), "text/csv")}
    revision = client.post(f"{ROUTE}?name=form", files=files).json()
    assert (revision["rows"], revision["source"]) == (1, "色.csv (csv)")


@pytest.mark.parametrize(
    ("content", "kind", "place"),
    [
        ('{"a": 1}\n{"a": }\n', "application/x-ndjson", "line 2"),
        ('{"a": 1}\n[1]\n', "application/x-ndjson", "line 2"),
        ("a,b\n1,2\n1\n", "text/csv", "line 3"),
        ('{"a": "x\\u0000"}\n', "application/x-ndjson", "line 1"),
        (b'{"a": "\xff"}\n', "application/x-ndjson", "line 1"),
        ('{"a": "\\ud800"}\n', "application/x-ndjson", "line 1"),
    ],
)
def test_a_fault_names_its_place_and_nothing_is_stored(client, sessions, content, kind, place):
    answer = upload(client, content, kind, "?name=bad")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["errors"][0]["pointer"].startswith(place), answer.text
    assert stored(sessions) == [0, 0, 0]


def test_a_fault_at_the_very_end_takes_everything_back(client, sessions):
    content = "".join(f'{{"n": {n}}}\n' for n in range(20_000)) + "{broken\n"
    answer = upload(client, content, query="?name=late")
    assert answer.json()["errors"][0]["pointer"].startswith("line 20001")
    assert stored(sessions) == [0, 0, 0]


def test_too_many_rows_are_refused(client, sessions, monkeypatch):
    monkeypatch.setattr(datasets, "MAX_ROWS", 10)
    answer = upload(client, '{"a": 1}\n' * 11)
    assert (answer.status_code, "at most 10 rows" in answer.text) == (422, True)
    assert stored(sessions) == [0, 0, 0]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"[]"])
def test_an_upload_without_rows_is_refused(client, sessions, content):
    assert upload(client, content, query="?name=none").status_code == 422
    assert stored(sessions) == [0, 0, 0]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("?name=", "query name"),
        ("?name=a%00b", "query name"),
        ("?name=" + "x" * 201, "query name"),
        ("?format=xlsx", "query format"),
        ("?encoding=../etc", "query encoding"),
    ],
)
def test_a_query_that_cannot_be_is_refused(client, query, pointer):
    answer = upload(client, JSONL, query=query)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_pages_give_every_row_once(client):
    content = "".join(f'{{"n": {n}}}\n' for n in range(25))
    dataset = upload(client, content).json()["id"]
    seen, after = [], ""
    while True:
        page = client.get(f"{ROUTE}/{dataset}/rows?limit=10{after}").json()
        seen += [row["data"]["n"] for row in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after={page['last_id']}"
    assert seen == list(range(25))


def test_revisions_are_listed_newest_first_and_by_name(client):
    for n in range(5):
        upload(client, f'{{"n": {n}}}\n', query=f"?name={'odd' if n % 2 else 'even'}")
    ids = [revision["id"] for revision in client.get(ROUTE).json()["data"]]
    assert all(newer > older for newer, older in pairwise(ids))
    assert len(ids) == 5
    first = client.get(f"{ROUTE}?limit=2").json()
    rest = client.get(f"{ROUTE}?after={first['last_id']}").json()
    assert [r["id"] for r in first["data"] + rest["data"]] == ids
    named = client.get(f"{ROUTE}?name=odd").json()["data"]
    assert [revision["revision"] for revision in named] == [2, 1]


def test_an_upload_with_a_key_is_made_once(client, sessions):
    key = {"idempotency-key": "up-1"}
    first = upload(client, JSONL, **key)
    again = upload(client, JSONL, **key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert stored(sessions) == [0, 1, 2]
    other = upload(client, JSONL + '{"a": 1}\n', **key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert stored(sessions) == [0, 1, 2]


def test_a_failed_upload_may_be_sent_again_with_its_key(client, sessions):
    key = {"idempotency-key": "up-2"}
    assert upload(client, "{broken\n", **key).status_code == 422
    assert upload(client, JSONL, **key).status_code == 201
    assert stored(sessions) == [0, 1, 2]


def test_what_is_not_there_is_404(client):
    for path in (
        "/ds_01kbd2m0a4f7s2y9n6p1r8kq3v",
        "/ds_x",
        "/nonsense",
        "/job_01kbd2m0a4f7s2y9n6p1r8kq3v",
    ):
        assert client.get(f"{ROUTE}{path}").json()["code"] == "not_found"
        assert client.get(f"{ROUTE}{path}/rows").status_code == 404
