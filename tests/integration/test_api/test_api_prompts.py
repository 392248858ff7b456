import pytest

ROUTE = "/api/v1/prompts"
NEW = {"name": "色", "template": "{{object}}は{{いつ}}何色? {{object}}"}


def test_a_prompt_is_stored_as_the_next_version_of_its_name(client):
    answer = client.post(ROUTE, json=NEW | {"note": "一"})
    assert answer.status_code == 201, answer.text
    first = answer.json()
    assert set(first) == {
        "id", "name", "version", "messages", "variables", "note", "created_at",
    }  # fmt: skip
    assert first["variables"] == ["object", "いつ"]
    assert first["messages"] == [{"role": "user", "content": NEW["template"]}]
    assert client.get(answer.headers["location"]).json() == first
    assert client.post(ROUTE, json=NEW).json()["version"] == 2
    assert client.post(ROUTE, json=NEW | {"name": "other"}).json()["version"] == 1


def test_versions_are_listed_newest_first_and_by_name(client):
    made = [
        client.post(ROUTE, json=NEW | {"name": name}).json()["id"] for name in ("a", "b", "a", "b")
    ]
    page = client.get(f"{ROUTE}?limit=3").json()
    rest = client.get(f"{ROUTE}?after={page['last_id']}").json()
    assert [prompt["id"] for prompt in page["data"] + rest["data"]] == made[::-1]
    named = client.get(f"{ROUTE}?name=a").json()["data"]
    assert [prompt["version"] for prompt in named] == [2, 1]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "x", "template": "{{a"}, "/template"),
        ({"name": "x", "messages": [{"role": "user", "content": "{{}}"}]}, "/messages/0/content"),
        ({"name": "x"}, ""),
        ({"name": "x", "template": "a", "messages": []}, "/messages"),
        ({"name": "", "template": "a"}, "/name"),
        ({"template": "a"}, "/name"),
        ({"name": "x", "messages": [{"role": "robot", "content": "a"}]}, "/messages/0/role"),
    ],
)
def test_a_template_that_is_wrong_is_refused_with_its_place(client, body, pointer):
    answer = client.post(ROUTE, json=body)
    assert answer.status_code == 422, answer.text
    assert pointer in [fault["pointer"] for fault in answer.json()["errors"]]
    assert client.get(ROUTE).json()["data"] == []


def test_a_prompt_with_a_key_is_stored_once(client):
    headers = {"idempotency-key": "p"}
    first, again = (client.post(ROUTE, json=NEW, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["location"] == first.headers["location"]
    assert len(client.get(ROUTE).json()["data"]) == 1


def test_what_is_not_there_is_404(client):
    for prompt in ("pt_01kbd2ksx8w3c5d7f9h1j2m4np", "pt_x", "job_01kbd2ksx8w3c5d7f9h1j2m4np"):
        assert client.get(f"{ROUTE}/{prompt}").json()["code"] == "not_found"
