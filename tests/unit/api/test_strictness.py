"""Requests that say one thing and could be taken for another."""

from typing import get_args

import pytest

from api.routes.control import Retried
from hikaku.jobs import RETRIED_OUTCOMES
from tests.unit.api.test_problems import JOB, faults, post

BUDGET = "/api/v1/jobs/job_01kbd2m6v1e0g8x3h5t7q9wz4c/budget"


def sent(client, method, path, body):
    return client.request(method, f"/api/v1{path}", json=body)


@pytest.mark.parametrize(
    "name",
    ["messages", "prompt", "input", "instructions", "system", "model", "stream", "stream_options"],
)
def test_parameters_cannot_say_what_is_asked_of_whom(client, name):
    value = [{"role": "user", "content": "OVERRIDDEN"}]
    asked = {"params": {name: value, "max_tokens": 3}}
    (pointer, message), *others = faults(post(client, JOB | asked)).items()
    assert (pointer, others) == (f"/params/{name}", [])
    assert message.startswith(f"`{name}` is refused: ")

    of_one = {"endpoints": ["echo", {"name": "echo", **asked}]}
    assert list(faults(post(client, JOB | of_one))) == [f"/endpoints/1/params/{name}"]

    question = {"endpoint": "echo", "template": "真", **asked}
    assert list(faults(sent(client, "POST", "/chat", question))) == [f"/params/{name}"]


def test_parameters_that_no_list_knows_are_passed_on(client):
    question = {"endpoint": "echo", "template": "真", "params": {"max_tokens": 5.0}}
    assert sent(client, "POST", "/chat", question).json()["completion"] == "真"


@pytest.mark.parametrize(
    ("change", "pointer", "message"),
    [
        ({"repeats": True}, "/repeats", "must be a whole number"),
        ({"repeats": "2"}, "/repeats", "must be a whole number"),
        ({"priority": False}, "/priority", "must be a whole number"),
        ({"params": {"max_tokens": True}}, "/params/max_tokens", "must be a whole number"),
        ({"params": {"seed": "7"}}, "/params/seed", "must be a whole number"),
        ({"params": {"temperature": True}}, "/params/temperature", "must be a number"),
        ({"params": {"temperature": "0.5"}}, "/params/temperature", "must be a number"),
        ({"params": {"top_p": "1"}}, "/params/top_p", "must be a number"),
        ({"budget_usd": True}, "/budget_usd", "must be"),
        ({"prompt": {"name": "p", "version": "1"}}, "/prompt/version", "whole number"),
        ({"rows": None, "dataset": {"name": "d", "revision": True}}, "/dataset/revision", "whole"),
        ({"execution": "auto", "deadline": 5}, "/deadline", "must be a time such as 2026-"),
        ({"execution": "auto", "deadline": "9999-12-31T23:59:59-23:59"}, "/deadline", "must lie"),
    ],
)
def test_text_and_true_stand_for_no_number(client, change, pointer, message):
    found = faults(post(client, JOB | change))
    assert message in found[pointer]


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("PUT", "/projects/p", {"weight": True}, "/weight"),
        ("PUT", "/projects/p", {"weight": "2"}, "/weight"),
        ("PUT", "/projects/p/budget", {"limit_usd": True}, "/limit_usd"),
        ("POST", BUDGET.removeprefix("/api/v1"), {"add_usd": True}, "/add_usd"),
        ("POST", BUDGET.removeprefix("/api/v1"), {"add_usd": 1, "resume": "no"}, "/resume"),
        ("POST", BUDGET.removeprefix("/api/v1"), {"add_usd": 1, "resume": 1}, "/resume"),
        (
            "PATCH",
            "/schedules/sch_01kbd2q3n5t7v9x1z3b5d7f9hk",
            {"paused": 1},
            "/paused",
        ),
    ],
)
def test_no_body_takes_text_or_true_for_a_number(client, method, path, body, pointer):
    assert list(faults(sent(client, method, path, body))) == [pointer]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"rows": None, "dataset": {"name": "x", "revision": 2**31}}, "/dataset/revision"),
        ({"rows": None, "dataset": {"name": "x", "revision": 1e30}}, "/dataset/revision"),
        ({"prompt": {"name": "a", "version": 10**30}}, "/prompt/version"),
        ({"params": {"temperature": 10**400}}, "/params/temperature"),
        ({"params": {"max_tokens": 10**400}}, "/params/max_tokens"),
    ],
)
def test_numbers_that_no_column_holds_are_refused(client, change, pointer):
    assert pointer in faults(post(client, JOB | change))


@pytest.mark.parametrize(
    ("change", "pointer", "message"),
    [
        ({"tags": {"a": "x" * 1_001}}, "/tags/a", "at most 1,000 characters"),
        ({"tags": {"a" * 201: "x"}}, "/tags/" + "a" * 200 + "…", "at most 200 characters"),
        ({"tags": {"": "x"}}, "/tags/", "at least 1 character"),
        ({"tags": {" ": "x"}}, "/tags/ ", "it is blank"),
        ({"name": "  "}, "/name", "it is blank"),
        ({"name": "\u3000"}, "/name", "it is blank"),
        ({"scorers": [{"type": "contains", "name": "\t"}]}, "/scorers/0/name", "it is blank"),
    ],
)
def test_names_are_seen_and_tags_are_short(client, change, pointer, message):
    found = faults(post(client, JOB | change))
    assert message in found[pointer]
    assert len(found[pointer]) < 300


@pytest.mark.parametrize(
    ("method", "path", "body", "pointer"),
    [
        ("POST", "/prompts", {"name": " ", "template": "x"}, "/name"),
        ("PATCH", "/schedules/sch_01kbd2q3n5t7v9x1z3b5d7f9hk", {"name": " "}, "/name"),
        ("POST", "/datasets?name=%20", {}, "query name"),
    ],
)
def test_nothing_is_named_with_blanks_alone(client, method, path, body, pointer):
    assert list(faults(sent(client, method, path, body))) == [pointer]


def test_a_list_of_projects_cannot_begin_behind_what_no_database_holds(client):
    assert list(faults(client.get("/api/v1/projects?after=%00"))) == ["query after"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("to=0001-01-01T00:00:00Z", "query to"),
        ("to=9999-12-31T23:59:59-23:59", "query to"),
        ("from=0001-01-01T00:00:00%2B23:59&to=0002-01-01T00:00:00Z", "query from"),
        ("from=2026-11-22T00:00:00Z&to=2026-11-21T00:00:00Z", "query from"),
    ],
)
def test_use_is_summed_over_times_that_can_be_counted(client, query, pointer):
    assert pointer in faults(client.get(f"/api/v1/usage?{query}"))


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00%2B23:59", "9999-12-31T23:59:59-23:59"])
def test_slots_lie_at_times_that_can_be_counted(client, at):
    path = "/api/v1/schedules/sch_01kbd2q3n5t7v9x1z3b5d7f9hk/slots"
    assert list(faults(client.get(f"{path}?after={at}"))) == ["query after"]


@pytest.mark.parametrize("project", ["a/b", " a", "a ", "a\nb", ""])
def test_a_project_says_what_its_name_may_be(client, project):
    message = faults(post(client, JOB | {"project": project}))["/project"]
    assert "match" not in message
    assert "blank" in message or "`/`" in message


def test_an_encoding_that_nothing_reads_is_refused_with_those_that_are_read(client):
    found = faults(sent(client, "POST", "/datasets?encoding=klingon", {}))
    assert "use one of: utf-8, " in found["query encoding"]


@pytest.mark.parametrize("body", [{}, {"rows": None}, {"endpoints": []}, {"repeats": None}])
def test_a_job_is_extended_by_something(client, body):
    path = "/jobs/job_01kbd2m6v1e0g8x3h5t7q9wz4c/extend"
    assert "give at least one of rows" in faults(sent(client, "POST", path, body))[""]


@pytest.mark.parametrize("outcome", ["bogus", "ok"])
def test_a_retry_names_what_can_be_retried(client, outcome):
    path = "/jobs/job_01kbd2m6v1e0g8x3h5t7q9wz4c/retry-failed"
    told = faults(sent(client, "POST", path, {"outcomes": [outcome]}))
    assert list(told) == ["/outcomes/0"]
    assert told["/outcomes/0"].startswith("entry 0 of `outcomes` must be 'invalid_request', ")
    assert "'ok'" not in told["/outcomes/0"]
    assert set(get_args(Retried)) == RETRIED_OUTCOMES
