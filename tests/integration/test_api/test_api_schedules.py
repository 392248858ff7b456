import pytest
from sqlalchemy import update

from hikaku.storage.tables import Schedule

ROUTE = "/api/v1/schedules"
JOB = {
    "prompt": {"template": "{{object}}"},
    "rows": [{"object": "りんご"}],
    "endpoints": ["a"],
}
NEW = {"name": "毎晩", "cron": "0 2 * * *", "time_zone": "Asia/Tokyo", "job": JOB}


def test_a_schedule_says_when_it_fires(client):
    answer = client.post(ROUTE, json=NEW)
    assert answer.status_code == 201, answer.text
    schedule = answer.json()
    assert answer.headers["location"] == f"{ROUTE}/{schedule['id']}"
    assert (schedule["name"], schedule["missed_policy"]) == ("毎晩", "skip")
    assert len(schedule["next_fires"]) == 5
    assert schedule["next_fires"][0] == schedule["next_fire_at"]
    assert schedule["next_fire_at"].endswith("T17:00:00Z")  # 02:00 in Tokyo
    assert schedule["last_slots"] == []
    assert schedule["job"]["prompt"]["template"] == "{{object}}"
    shown = client.get(f"{ROUTE}/{schedule['id']}").json()
    assert shown == schedule
    assert [s["id"] for s in client.get(ROUTE).json()["data"]] == [schedule["id"]]
    slots = client.get(f"{ROUTE}/{schedule['id']}/slots").json()
    assert slots == {"data": [], "first_id": None, "last_id": None, "has_more": False}


def test_trying_a_job_leaves_nothing_behind(client):
    client.post(ROUTE, json=NEW)
    assert client.get("/api/v1/jobs").json()["data"] == []


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"cron": "0 25 * * *"}, "/cron"),
        ({"cron": "0 0 31 2 *"}, "/cron"),
        ({"time_zone": "Asia/Edo"}, "/time_zone"),
        ({"time_zone": "Asia"}, "/time_zone"),
        ({"missed_policy": "all"}, "/missed_policy"),
        ({"job": JOB | {"endpoints": ["nowhere"]}}, "/job/endpoints/0"),
        ({"job": JOB | {"prompt": {"template": "{{x"}}}, "/job/prompt/template"),
        ({"job": JOB | {"rows": None}}, "/job"),
    ],
)
def test_a_schedule_that_can_only_fail_is_refused(client, change, pointer):
    answer = client.post(ROUTE, json=NEW | change)
    assert answer.status_code == 422, answer.text
    assert pointer in [fault["pointer"] for fault in answer.json()["errors"]]
    assert client.get(ROUTE).json()["data"] == []


def test_a_job_that_was_taken_before_it_is_refused_today_is_still_shown(client, sessions):
    schedule = client.post(ROUTE, json=NEW).json()
    old = JOB | {"name": " ", "params": {"model": "other"}}
    with sessions.begin() as session:
        session.execute(update(Schedule).values(spec=old))
    assert client.get(f"{ROUTE}/{schedule['id']}").json()["job"] == old


def test_a_name_is_taken_once(client):
    assert client.post(ROUTE, json=NEW).status_code == 201
    answer = client.post(ROUTE, json=NEW)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


def test_a_schedule_is_paused_changed_and_removed(client):
    path = f"{ROUTE}/{client.post(ROUTE, json=NEW).json()['id']}"
    paused = client.patch(path, json={"paused": True}).json()
    assert (paused["paused"], paused["next_fire_at"], paused["next_fires"]) == (True, None, [])
    changed = client.patch(path, json={"paused": False, "cron": "30 1 * * *", "name": "朝"}).json()
    assert (changed["name"], changed["next_fire_at"][11:]) == ("朝", "16:30:00Z")
    job = JOB | {"repeats": 3}
    assert client.patch(path, json={"job": job}).json()["job"]["repeats"] == 3
    assert client.patch(path, json={"cron": None}).status_code == 422
    assert client.patch(path, json={"cron": "x x x x x"}).status_code == 422
    assert client.get(path).json()["cron"] == "30 1 * * *"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == client.delete(path).status_code == 404


def test_a_schedule_with_a_key_is_added_once(client):
    headers = {"idempotency-key": "s"}
    first, again = (client.post(ROUTE, json=NEW, headers=headers) for _ in range(2))
    assert (again.status_code, again.json()) == (201, first.json())


def test_a_schedule_has_no_deadline_for_all_its_slots(client):
    job = JOB | {"execution": "auto", "deadline": "2999-01-01T00:00:00Z"}
    answer = client.post(ROUTE, json=NEW | {"job": job})
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/job/deadline"]
