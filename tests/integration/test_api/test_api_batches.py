"""OpenAI's Files and Batch APIs, without a worker: what is asked for, and how failures are said."""

import json
import time

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from api.context import Context
from api.main import create_app
from api.security import guard_for
from hikaku.storage import files
from hikaku.storage.tables import FileChunk

LINE = {
    "custom_id": "りんご-1",
    "method": "POST",
    "url": "/v1/chat/completions",
    "body": {"model": "a", "messages": [{"role": "user", "content": "赤？"}]},
}
CONTENT = (json.dumps(LINE, ensure_ascii=False) + "\n").encode()


def upload(client, content=CONTENT, name="要求.jsonl", **fields):
    return client.post(
        "/v1/files", data={"purpose": "batch"} | fields, files={"file": (name, content)}
    )


def create(client, file_id, **changes):
    wanted = {
        "input_file_id": file_id,
        "endpoint": "/v1/chat/completions",
        "completion_window": "24h",
    }
    return client.post("/v1/batches", json=wanted | changes)


def test_a_file_comes_back_as_it_went(client):
    answer = upload(client)
    assert answer.status_code == 200
    file = answer.json()
    assert file["id"].startswith("file-")
    assert abs(file["expires_at"] - time.time() - 30 * 86_400) < 60
    assert file | {"id": "", "created_at": 0, "expires_at": 0} == {
        "id": "",
        "object": "file",
        "bytes": len(CONTENT),
        "created_at": 0,
        "expires_at": 0,
        "filename": "要求.jsonl",
        "purpose": "batch",
        "status": "processed",
        "status_details": None,
    }
    assert client.get(f"/v1/files/{file['id']}").json() == file
    assert client.get(f"/v1/files/{file['id']}/content").content == CONTENT


def test_a_file_of_many_pieces_comes_back_whole(client, sessions):
    content = b"".join(b"%07d\n" % n for n in range(200_000))
    file = upload(client, content).json()
    assert file["bytes"] == len(content)
    assert client.get(f"/v1/files/{file['id']}/content").content == content
    with sessions() as session:
        assert session.query(FileChunk).count() == 4


def test_the_fields_of_the_form_may_follow_the_file(client):
    boundary = "x"
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
        b"abc"
        b'\r\n--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch'
        b'\r\n--x\r\nContent-Disposition: form-data; name="expires_after[anchor]"\r\n\r\ncreated_at'
        b'\r\n--x\r\nContent-Disposition: form-data; name="expires_after[seconds]"\r\n\r\n3600'
        b"\r\n--x--\r\n"
    )
    kind = {"content-type": f"multipart/form-data; boundary={boundary}"}
    file = client.post("/v1/files", content=body, headers=kind).json()
    assert file["expires_at"] - file["created_at"] == 3600
    assert client.get(f"/v1/files/{file['id']}/content").content == b"abc"


def test_files_are_listed_in_pages_from_either_end(client):
    made = [upload(client, name=f"{n}.jsonl").json()["id"] for n in range(5)]
    page = client.get("/v1/files", params={"limit": 2}).json()
    assert [file["id"] for file in page["data"]] == made[:-3:-1]
    assert page["has_more"]
    assert page["last_id"] == made[3]
    after = {"after": page["last_id"], "limit": 3}
    rest = client.get("/v1/files", params=after).json()
    assert [file["id"] for file in rest["data"]] == made[2::-1]
    assert not rest["has_more"]
    assert client.get("/v1/files?order=asc").json()["first_id"] == made[0]
    assert client.get("/v1/files?purpose=batch_output").json()["data"] == []
    assert client.get("/v1/files?purpose=%00").status_code == 400


def test_a_deleted_file_is_gone_with_its_content(client, sessions):
    file_id = upload(client).json()["id"]
    gone = client.delete(f"/v1/files/{file_id}").json()
    assert gone == {"id": file_id, "object": "file", "deleted": True}
    answer = client.get(f"/v1/files/{file_id}")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": f"No such File object: {file_id}",
        "type": "invalid_request_error",
        "param": "id",
        "code": None,
    }
    with sessions() as session:
        assert session.query(FileChunk).count() == 0


def test_a_file_whose_time_is_over_is_gone(client, sessions):
    file_id = upload(client).json()["id"]
    with sessions.begin() as session:
        session.connection().exec_driver_sql("update file set expires_at = now()")
    assert client.get(f"/v1/files/{file_id}").status_code == 404
    assert client.get("/v1/files").json()["data"] == []
    with sessions.begin() as session:
        files.forget_expired(session)
    with sessions() as session:
        assert session.query(FileChunk).count() == 0


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"purpose": "fine-tune"}, "purpose", "invalid_value"),
        ({"expires_after[anchor]": "now"}, "expires_after.anchor", "invalid_value"),
        (
            {
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "000003600" + "9" * 20,
            },
            "expires_after.seconds",
            "invalid_value",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "60"},
            "expires_after.seconds",
            "invalid_value",
        ),
    ],
)
def test_a_field_that_cannot_be_taken_is_named_and_nothing_is_kept(client, fields, param, code):
    answer = upload(client, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["code"] == code
    assert client.get("/v1/files").json()["data"] == []


def test_a_form_without_a_file_is_refused_in_openais_words(client):
    answer = client.post("/v1/files", data={"purpose": "batch"})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_batch_begins_as_validating(client):
    file_id = upload(client).json()["id"]
    batch = create(client, file_id, metadata={"name": "夜"}).json()
    assert batch["expires_at"] - batch["created_at"] == 86_400
    assert batch | {"id": "", "created_at": 0, "expires_at": 0} == {
        "id": "",
        "object": "batch",
        "endpoint": "/v1/chat/completions",
        "model": None,
        "errors": None,
        "input_file_id": file_id,
        "completion_window": "24h",
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": 0,
        "in_progress_at": None,
        "expires_at": 0,
        "finalizing_at": None,
        "completed_at": None,
        "failed_at": None,
        "expired_at": None,
        "cancelling_at": None,
        "cancelled_at": None,
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "usage": None,
        "metadata": {"name": "夜"},
    }
    assert client.get(f"/v1/batches/{batch['id']}").json() == batch
    cancelled = client.post(f"/v1/batches/{batch['id']}/cancel").json()
    assert cancelled["status"] == "cancelling"
    assert cancelled["cancelling_at"] >= batch["created_at"]


def test_batches_are_listed_in_pages(client):
    file_id = upload(client).json()["id"]
    made = [create(client, file_id).json()["id"] for _ in range(3)]
    page = client.get("/v1/batches?limit=2").json()
    assert [batch["id"] for batch in page["data"]] == made[:0:-1]
    assert page["has_more"]
    rest = client.get("/v1/batches", params={"after": page["last_id"]}).json()
    assert [batch["id"] for batch in rest["data"]] == made[:1]


@pytest.mark.parametrize(
    ("changes", "param", "code"),
    [
        ({"input_file_id": "file-nobody"}, "input_file_id", None),
        ({"endpoint": "/v1/images/generations"}, "endpoint", "invalid_value"),
        ({"completion_window": "1h"}, "completion_window", "invalid_value"),
        ({"priority": 1}, "priority", "unknown_parameter"),
        ({"metadata": {"k": 1}}, "metadata.k", "invalid_value"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 5}},
            "output_expires_after.seconds",
            "invalid_value",
        ),
    ],
)
def test_what_cannot_be_a_batch_is_refused_by_its_parameter(client, changes, param, code):
    answer = create(client, upload(client).json()["id"], **changes)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)
    assert client.get("/v1/batches").json()["data"] == []


def test_an_unknown_batch_is_not_found(client):
    for answer in (client.get("/v1/batches/batch_x"), client.post("/v1/batches/batch_x/cancel")):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == "No batch found with id 'batch_x'."
    assert client.get("/v1/batches?after=batch_x").status_code == 400


def test_without_the_key_nobody_enters(context, sessions):
    guarded = Context(
        sessions=sessions,
        reader=context.reader,
        queue=context.queue,
        gateway=context.gateway,
        guard=guard_for("127.0.0.1", SecretStr("secret")),
        version="1",
    )
    with TestClient(create_app(guarded), base_url="http://127.0.0.1:8420") as client:
        for path in ("/v1/files", "/v1/batches"):
            answer = client.get(path)
            assert answer.status_code == 401
            assert answer.json()["error"]["type"] == "authentication_error"
            key = {"authorization": "Bearer secret"}
            assert client.get(path, headers=key).status_code == 200
