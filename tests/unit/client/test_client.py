import json

import pandas as pd
import pytest
from hikaku_client.errors import InvalidRequest

from tests.unit.client.fake import job, page

DATASET = {"id": "ds_7", "name": "rows", "revision": 1, "rows": 3, "columns": ["q"]}


def evaluate(client, rows, **more):
    return client.evaluate(rows, prompt="{{q}}は何色ですか?", endpoints=["a", "b"], **more)


def test_an_evaluation_is_posted_as_a_job_spec(server, client):
    server.on("POST /jobs", job())
    found = evaluate(
        client,
        [{"q": "りんご", "expected": "赤"}],
        params={"temperature": 0},
        scorers=["contains", {"type": "regex", "pattern": "赤"}],
        name="色",
        reuse="on",
    )
    assert found.name == "初めてのジョブ"
    assert server.sent() == {
        "name": "色",
        "prompt": {"template": "{{q}}は何色ですか?"},
        "rows": [{"q": "りんご", "expected": "赤"}],
        "endpoints": ["a", "b"],
        "params": {"temperature": 0},
        "scorers": [{"type": "contains"}, {"type": "regex", "pattern": "赤"}],
        "repeats": 1,
        "reuse": "on",
    }


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ([{"role": "user", "content": "x"}], {"messages": [{"role": "user", "content": "x"}]}),
        ({"name": "colours", "version": 2}, {"name": "colours", "version": 2}),
    ],
)
def test_a_prompt_may_be_messages_or_a_stored_one(server, client, prompt, sent):
    server.on("POST /jobs", job())
    client.evaluate([{"q": 1}], prompt=prompt, endpoints=["a"])
    assert server.sent()["prompt"] == sent


def test_a_frame_travels_inline(server, client):
    server.on("POST /jobs", job())
    evaluate(client, pd.DataFrame({"q": ["空", "海"]}))
    assert server.sent()["rows"] == [{"q": "空"}, {"q": "海"}]


def test_many_rows_are_uploaded_first_and_all_of_them(server, client):
    server.on("POST /datasets", DATASET).on("POST /jobs", job())
    evaluate(client, ({"q": f"問{i}"} for i in range(10_001)), name="big")
    assert [f"{r.method} {r.url.path}" for r in server.requests] == [
        "POST /api/v1/datasets",
        "POST /api/v1/jobs",
    ]
    assert server.asked("POST /api/v1/datasets") == [{"name": ["big"], "format": ["jsonl"]}]
    sent = [json.loads(line)["q"] for line in server.bodies[0].splitlines()]
    assert sent == [f"問{i}" for i in range(10_001)]
    assert server.requests[0].headers["transfer-encoding"] == "chunked"
    assert server.sent()["dataset"] == {"id": "ds_7"}


@pytest.mark.parametrize(
    ("source", "sent"),
    [("ds_1", {"id": "ds_1"}), ("questions", {"name": "questions"}), (DATASET, {"id": "ds_7"})],
)
def test_a_dataset_is_named_by_id_by_name_or_as_uploaded(server, client, source, sent):
    server.on("POST /jobs", job())
    evaluate(client, source)
    assert server.sent()["dataset"] == sent
    assert "rows" not in server.sent()


def test_a_file_is_uploaded_byte_for_byte(server, client, tmp_path):
    path = tmp_path / "質問.csv"
    path.write_bytes("q\n色\n".encode("cp932"))
    server.on("POST /datasets", DATASET).on("POST /jobs", job())
    evaluate(client, path)
    assert server.bodies[0] == "q\n色\n".encode("cp932")
    assert server.requests[0].headers["content-type"] == "text/csv"
    assert server.asked("POST /api/v1/datasets") == [{"name": ["質問"], "format": ["csv"]}]


def test_no_rows_are_refused_before_anything_is_sent(server, client):
    with pytest.raises(InvalidRequest, match="no rows"):
        evaluate(client, [])
    assert server.requests == []


def test_a_question_is_a_template_or_messages(server, client):
    answer = {"endpoint": "a", "completion": "赤"}
    server.on("POST /chat", answer)
    client.chat("a", prompt="{{x}}は?", variables={"x": "空"}, params={"max_tokens": 3})
    assert server.sent() == {
        "endpoint": "a",
        "template": "{{x}}は?",
        "variables": {"x": "空"},
        "params": {"max_tokens": 3},
    }
    client.chat("a", [{"role": "user", "content": "hi"}])
    assert server.sent()["messages"] == [{"role": "user", "content": "hi"}]
    with pytest.raises(InvalidRequest, match="either"):
        client.chat("a")


def test_rows_of_a_dataset_are_read_back(server, client):
    rows = [{"id": "0", "row": 0, "row_key": "k", "data": {"q": "空"}}]
    server.on("GET /datasets/ds_7/rows", page(rows))
    assert list(client.datasets.rows("ds_7")) == [{"q": "空"}]


def test_a_schedule_is_made_once_and_changed_in_place(server, client):
    answer = {"id": "sch_1", "paused": False}
    server.on("POST /schedules", answer).on("PATCH /schedules/sch_1", answer | {"paused": True})
    client.schedules.add("夜", cron="0 2 * * *", job={"rows": []}, time_zone="Asia/Tokyo")
    assert server.sent() == {
        "name": "夜",
        "cron": "0 2 * * *",
        "time_zone": "Asia/Tokyo",
        "missed_policy": "skip",
        "paused": False,
        "job": {"rows": []},
    }
    assert "idempotency-key" in server.requests[0].headers
    assert client.schedules.pause("sch_1")["paused"]
    assert server.sent() == {"paused": True}


def test_the_names_that_load_late_are_the_names_that_are_promised():
    import hikaku_client  # noqa: PLC0415 - what is under test

    stub = (hikaku_client.__spec__.origin or "").replace("__init__.py", "__init__.pyi")
    with open(stub, encoding="utf-8") as file:  # noqa: PTH123 - a path in text
        promised = [line.rsplit(" as ", 1)[1].strip() for line in file]
    assert sorted(promised) == sorted(vars(hikaku_client)["__all__"])
    for name in promised:
        assert getattr(hikaku_client, name).__name__ == name
