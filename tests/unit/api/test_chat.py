import pytest

ROUTE = "/api/v1/chat"


def test_a_template_is_filled_and_asked(client):
    asked = {
        "endpoint": "echo",
        "template": "{{object}}は何色ですか?",
        "variables": {"object": "りんご"},
    }
    answer = client.post(ROUTE, json=asked)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["completion"] == "りんごは何色ですか?"
    assert body["endpoint"] == "echo"
    assert set(body) == {
        "endpoint", "completion", "outcome", "finish_reason", "usage", "latency_ms", "model",
    }  # fmt: skip


def test_messages_are_sent_as_they_are(client):
    messages = [{"role": "user", "content": "{{not}} a template"}]
    answer = client.post(ROUTE, json={"endpoint": "echo", "messages": messages})
    assert answer.json()["completion"] == "{{not}} a template"


@pytest.mark.parametrize(
    ("asked", "status", "code", "pointer"),
    [
        ({"endpoint": "ecko", "template": "x"}, 422, "unknown_name", "/endpoint"),
        ({"endpoint": "locked", "template": "x"}, 424, "provider_error", None),
        ({"endpoint": "echo", "template": "{{x"}, 422, "invalid_input", "/template"),
        ({"endpoint": "echo", "template": "{{x}}"}, 422, "invalid_input", "/variables"),
        ({"endpoint": "echo"}, 422, "invalid_input", ""),
    ],
)
def test_what_cannot_be_asked_is_said(client, asked, status, code, pointer):
    answer = client.post(ROUTE, json=asked)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert pointer is None or answer.json()["errors"][0]["pointer"] == pointer


def test_a_missing_secret_is_named_and_the_endpoint_alone_unavailable(client):
    endpoints = {e["name"]: e for e in client.get("/api/v1/endpoints").json()["data"]}
    assert endpoints["echo"]["available"]
    assert endpoints["echo"]["reason"] is None
    assert not endpoints["locked"]["available"]
    assert "NOT_SET_ANYWHERE" in endpoints["locked"]["reason"]
    assert len(endpoints["echo"]["fingerprint"]) == 64
