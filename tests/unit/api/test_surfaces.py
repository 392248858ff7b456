"""Other people's surfaces as the API serves them: behind the guard, in its document."""

import pytest

from tests.unit.api.conftest import KEY

ASKED = {"messages": [{"role": "user", "content": "りんご"}]}


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_the_key_is_found_wherever_a_client_of_a_surface_puts_it(locked, header):
    shown = f"Bearer {KEY}" if header == "authorization" else KEY
    body = ASKED | {"model": "echo", "max_tokens": 9}
    headers = {header.encode(): shown.encode()}
    answer = locked.post("/anthropic/v1/messages", json=body, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["content"][0]["text"] == "りんご"


def test_a_key_in_a_header_of_its_own_opens_the_surfaces_alone(locked):
    assert locked.get("/v1/models", headers={b"x-api-key": KEY.encode()}).status_code == 200
    assert locked.get("/api/v1/endpoints", headers={b"x-api-key": KEY.encode()}).status_code == 401


def test_the_guard_refuses_in_the_words_of_the_surface(locked):
    said = locked.post("/anthropic/v1/messages", json={}).json()
    assert said["error"]["type"] == "authentication_error"
    said = locked.post("/v1/chat/completions", json={}).json()
    assert said["error"]["code"] == "key_missing"
    said = locked.post("/gateway/echo/invocations", json={}).json()
    assert isinstance(said["detail"], str)


def test_a_surface_answers_under_the_id_of_the_request(client):
    headers = {"x-request-id": "mine-1"}
    answer = client.post("/gateway/echo/invocations", json=ASKED, headers=headers)
    assert answer.headers.get_list("x-request-id") == ["mine-1"]
    assert answer.json()["choices"][0]["message"]["content"] == "りんご"


def test_every_endpoint_stands_in_the_document_by_its_name(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert "Unavailable" in paths["/gateway/locked/invocations"]["post"]["description"]
    tried = paths["/gateway/echo/invocations"]["post"]["requestBody"]["content"]
    example = tried["application/json"]["example"]
    assert client.post("/gateway/echo/invocations", json=example).status_code == 200
