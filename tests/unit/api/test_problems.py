import asyncio
import json

import pytest
from starlette.types import Message

from api import bodies
from api.bodies import limited
from api.errors import RequestRefusedError

JOB = {
    "prompt": {"template": "{{object}}は何色ですか?"},
    "rows": [{"object": "りんご"}],
    "endpoints": ["echo"],
}


def post(client, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json"} | headers
    return client.post("/api/v1/jobs", content=content, headers=sent)


def faults(answer):
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return {fault["pointer"]: fault["message"] for fault in answer.json()["errors"]}


def test_a_problem_has_this_shape(client):
    answer = client.get("/api/v1/jobs/nonsense", headers={"x-request-id": "abc-1"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == "abc-1"
    assert answer.json() == {
        "type": "urn:hikaku:problem:not_found",
        "title": "Not Found",
        "status": 404,
        "detail": "there is no job 'nonsense'",
        "code": "not_found",
        "instance": "urn:hikaku:request:abc-1",
        "errors": [],
    }


def test_a_validation_problem_has_this_shape(client):
    answer = post(client, JOB | {"endpoint": ["echo"], "repeats": 0}, **{"x-request-id": "r1"})
    assert answer.json() == {
        "type": "urn:hikaku:problem:invalid_input",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "2 things are wrong",
        "code": "invalid_input",
        "instance": "urn:hikaku:request:r1",
        "errors": [
            {"pointer": "/repeats", "message": "`repeats` must be greater than or equal to 1"},
            {
                "pointer": "/endpoint",
                "message": "`endpoint` is not known here; did you mean `endpoints`?",
            },
        ],
    }


@pytest.mark.parametrize(
    ("change", "pointer", "message"),
    [
        ({"endpoints": [{"params": {}}]}, "/endpoints/0/name", "`name` is required"),
        ({"endpoints": [5]}, "/endpoints/0", "must be"),
        ({"rows": None}, "", "give exactly one of rows, dataset"),
        ({"rows": [{}, 5]}, "/rows/1", "entry 1 of `rows` must be an object"),
        ({"params": {"temperature": "hot"}}, "/params/temperature", "must be a number"),
        ({"prompt": {"template": "x", "name": "y"}}, "/prompt", "give exactly one of"),
        ({"scorers": [{"type": ""}]}, "/scorers/0/type", "at least 1 character"),
        ({"tags": {"a/b~c": 5}}, "/tags/a~1b~0c", "must be text"),
        ({"priority": 10**30}, "/priority", "less than or equal to 9"),
    ],
)
def test_a_fault_points_into_the_body(client, change, pointer, message):
    found = faults(post(client, JOB | change))
    assert pointer in found
    assert message in found[pointer]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"rows": []}, {"/rows": "`rows` must hold at least 1 entry"}),
        ({"rows": [1]}, {"/rows/0": "entry 0 of `rows` must be an object"}),
        (
            {"prompt": {"messages": [{"role": "robot", "content": "x"}]}},
            {"/prompt/messages/0/role": "`role` must be 'system', 'user' or 'assistant'"},
        ),
        (
            {"endpoints": [{"name": "echo", "params": {"seed": -1}}]},
            {"/endpoints/0/params/seed": "`seed` must be greater than or equal to 0"},
        ),
        ({"name": "x" * 201}, {"/name": "`name` must have at most 200 characters"}),
    ],
)
def test_a_fault_is_told_once_and_in_plain_words(client, change, told):
    assert faults(post(client, JOB | change)) == told


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "query limit"),
        ("limit=201", "query limit"),
        ("limit=" + "9" * 400, "query limit"),
        ("limit=x", "query limit"),
        ("after=ds_01kbd2m0a4f7s2y9n6p1r8kq3v", "query after"),
        ("after=%00", "query after"),
        ("state=done", "query state"),
    ],
)
def test_a_fault_names_the_parameter(client, query, pointer):
    assert pointer in faults(client.get(f"/api/v1/jobs?{query}"))


@pytest.mark.parametrize(
    ("body", "pointer", "word"),
    [
        (b'{"prompt":{"template":"a\\u0000b"}}', "/prompt/template", "NUL"),
        (b'{"a\\u0000":1}', "/a\\u0000", "NUL"),
        (b'{"prompt":{"template":"\\ud83d"}}', "/prompt/template", "surrogate"),
        (b'{"rows":[{"x":["ok","\\udc00"]}]}', "/rows/0/x/1", "surrogate"),
    ],
)
def test_text_that_is_not_text_is_refused_with_its_place(client, body, pointer, word):
    found = faults(post(client, body))
    assert word in found[pointer]


def test_a_whole_surrogate_pair_is_a_character(client):
    body = b'{"endpoint":"echo","template":"\\ud83d\\udc69\\u200d\\ud83c\\udf73"}'
    answer = client.post("/api/v1/chat", content=body, headers={"content-type": "application/json"})
    assert answer.json()["completion"] == "👩‍🍳"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "line 1, column 2"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": 1, "a": 2}', "'a' stands twice"),
        (b'{"a": "\xff"}', "not UTF-8 (byte 7)"),
        (b'{"a": ' + b"9" * 5000 + b"}", "has 5,000 digits"),
        (b"[" * 40 + b"]" * 40, "nested deeper"),
        (b"[" * 90_000, "nested deeper"),
        ('{"a": "あ"}'.encode("utf-16"), "not UTF-8"),
    ],
)
def test_json_that_is_not_json_is_refused(client, body, words):
    answer = post(client, body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"a": [1, NaN]}', {"/a/1": "NaN is not JSON"}),
        (b'{"a": -Infinity}', {"/a": "-Infinity is not JSON"}),
        (b'{"a": {"b": 1e999}}', {"/a/b": "the number 1e999 is too large"}),
        (b'{"a": {"b/c": 1, "b/c": 2}}', {"/a/b~1c": "the key 'b/c' stands twice in one object"}),
        (
            b'{"a": [0, -' + b"9" * 5_000 + b"]}",
            {"/a/1": "the number -9999999999999999999… has 5,001 digits: too many"},
        ),
        (b'{"a": 1,\n "b": }', {"line 2, column 7": "is not JSON: Expecting value"}),
        (b'{"a": NaN, "b": "\\u0000"}', ["/a", "/b"]),
    ],
)
def test_json_that_is_not_taken_is_refused_with_its_place(client, body, told):
    found = faults(post(client, body))
    assert found == told or sorted(found) == told
    assert "int_max_str_digits" not in str(found)


def test_a_large_body_is_held_to_the_same_rules(client):
    body = b'{"a": NaN, "b": "' + b"x" * 70_000 + b'"}'
    assert "NaN" in post(client, body).json()["detail"]
    body = b'{"a": "' + b"x" * 70_000 + b'\\u0000"}'
    assert list(faults(post(client, body))) == ["/a"]


def test_a_body_of_another_kind_is_415(client):
    answer = client.post("/api/v1/jobs", content=b"a=1", headers={"content-type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    answer = client.post("/api/v1/jobs", content=b"{}")
    assert answer.status_code == 415
    answer = post(client, b"{}", **{"content-encoding": "gzip"})
    assert (answer.status_code, answer.json()["code"]) == (415, "compressed_body")


def test_a_missing_body_says_so(client):
    assert faults(client.post("/api/v1/jobs")) == {"": "the body is required"}


def test_a_large_body_is_413_whether_announced_or_not(client):
    def chunks():
        for _ in range(30):
            yield b" " * 10_000

    for content in (b" " * 100_001, chunks()):
        answer = client.post(
            "/api/v1/jobs", content=content, headers={"content-type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
        assert answer.headers["content-type"] == "application/problem+json"


def test_unknown_paths_and_methods_are_problems_too(client):
    nowhere = client.get("/api/v1/nowhere")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "no_such_path")
    wrong = client.put("/api/v1/jobs")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method_not_allowed")
    assert wrong.headers["allow"]


def test_a_mistake_of_ours_is_a_500_that_names_the_request_and_nothing_else(client, caplog):
    answer = client.get("/api/v1/jobs", headers={"x-request-id": "find-me"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["instance"] == "urn:hikaku:request:find-me"
    assert "database" not in answer.text
    assert "Traceback" not in answer.text
    assert any(getattr(record, "request_id", "") == "find-me" for record in caplog.records)


@pytest.mark.parametrize("shown", ["", "x" * 129, "a b", "<script>", "a\x7f"])
def test_a_request_id_that_could_do_harm_is_replaced(client, shown):
    given = client.get("/health", headers={"x-request-id": shown}).headers["x-request-id"]
    assert given != shown
    assert len(given) == 32


async def test_a_body_that_stops_is_408_and_a_client_may_wait_long_for_its_answer(monkeypatch):
    monkeypatch.setattr(bodies, "BODY_PAUSE", 0.05)
    said: asyncio.Queue[Message] = asyncio.Queue()
    receive = limited({"type": "http", "headers": []}, said.get, 100)
    said.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
    assert (await receive())["more_body"]
    with pytest.raises(RequestRefusedError) as refused:
        await receive()
    assert (refused.value.status, refused.value.code) == (408, "body_too_slow")
    said.put_nowait({"type": "http.request", "body": b"}"})
    await receive()
    asyncio.get_running_loop().call_later(0.1, said.put_nowait, {"type": "http.disconnect"})
    assert (await receive())["type"] == "http.disconnect"
