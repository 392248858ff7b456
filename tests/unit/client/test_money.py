"""Estimates, budgets and rescoring on the command line."""

from pathlib import Path

import pytest

from tests.unit.client.fake import counts, job

JOB = job()["id"]
PILOT = "job_01kb2v6x3f4n8q0r5s7t9w1p1t"
BUDGET = {"limit_usd": "25", "spent_usd": "1.5", "reserved_usd": "0.5", "left_usd": "23"}


def between(value, low, high):
    return {"value": value, "low": low, "high": high}


def told(**changes):
    needs = {
        "calls": between(600, 600, 600),
        "input_tokens": between(12_000, 11_000, 13_000),
        "output_tokens": between(9_000, 7_000, 11_000),
        "cost_usd": between("0.05", "0.04", "0.06"),
        "seconds": between(90.0, 80.0, 100.0),
    }
    pilot = {
        "job": PILOT, "cells": 20, "failed": 0, "calls": 20, "cost_usd": "0.002",
        "cost_unknown_calls": 0, "is_reused": False,
    }  # fmt: skip
    part = {"name": "a", "in_flight": 8, "tried": 20, "failed": 0, **needs}
    return {
        **needs, "confidence": 0.95, "is_complete": True, "endpoints": [part], "pilot": pilot,
        **changes,
    }  # fmt: skip


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "色.yaml"
    path.write_text('prompt: "{{x}}?"\nrows: [{x: 1}]\nendpoints: [a]\n', encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("command", [["estimate"], ["run", "--estimate"]])
def test_an_estimate_shows_intervals_and_what_the_pilot_cost(server, hikaku, spec, command):
    server.on("POST /jobs", told())
    result = hikaku(*command, spec)
    assert result.exit_code == 0, result.stderr
    assert "0.05 [0.04, 0.06]" in result.stdout
    assert "600" in result.stdout
    assert "0.002 USD" in result.stderr
    (query,) = server.asked("POST /api/v1/jobs")
    assert query["preflight"] == ["true"]


def test_an_estimate_waits_for_its_pilot(server, hikaku, spec):
    server.on("POST /jobs", told(is_complete=False, calls=None))
    server.on(f"GET /jobs/{PILOT}", job(id=PILOT, state="running"))
    server.on(f"GET /jobs/{PILOT}/estimate", told(is_complete=False), told())
    assert "0.05" in hikaku("estimate", spec).stdout


def test_an_estimate_without_a_price_says_that_it_knows_none(server, hikaku, spec):
    part = told()["endpoints"][0] | {"cost_usd": None}
    server.on("POST /jobs", told(cost_usd=None, endpoints=[part]))
    assert "0.05" not in hikaku("estimate", spec).stdout


def test_an_estimate_says_what_its_figures_leave_out(server, hikaku, spec):
    part = told()["endpoints"][0] | {"seconds": None}
    notes = [{"code": "batch_time", "message": "no time is told for a"}]
    server.on("POST /jobs", told(seconds=None, endpoints=[part], notes=notes))
    assert "no time is told for a" in hikaku("estimate", spec).stderr


def test_a_budget_goes_with_a_run(server, hikaku, spec):
    server.on("POST /jobs", job(state="queued"))
    hikaku("run", spec, "--budget", "2.5")
    assert server.sent()["budget_usd"] == "2.5"


def test_a_spec_may_hold_a_budget(server, hikaku, tmp_path):
    path = tmp_path / "a.yaml"
    text = 'prompt: "{{x}}?"\nrows: [{x: 1}]\nendpoints: [a]\nbudget_usd: 3\n'
    path.write_text(text, encoding="utf-8")
    server.on("POST /jobs", job(state="queued"))
    assert hikaku("run", str(path)).exit_code == 0
    assert server.sent()["budget_usd"] == 3


def test_a_job_is_topped_up(server, hikaku):
    server.on(f"GET /jobs/{JOB}", job(state="paused"))
    server.on(f"POST /jobs/{JOB}/budget", job(state="running", budget=BUDGET))
    result = hikaku("top-up", JOB, "--add", "5")
    assert server.sent() == {"add_usd": "5.0", "resume": True}
    assert "23 of 25 USD left" in result.stderr
    assert hikaku("top-up", JOB).exit_code == 2


def test_a_paused_job_says_what_lets_it_go_on(server, hikaku):
    skipped = counts(120, ok=40) | {"budget_skipped": 80, "pending": 0}
    paused = job(state="paused", paused_for="budget", counts=skipped, budget=BUDGET)
    server.on(f"GET /jobs/{JOB}", paused)
    result = hikaku("show", JOB)
    assert "80 cells wait" in result.stdout
    assert "top-up" in result.stdout


def test_other_scorers_make_another_job(server, hikaku):
    server.on(f"GET /jobs/{JOB}", job())
    server.on(f"POST /jobs/{JOB}/rescore", job(id="job_2", state="queued"))
    result = hikaku("rescore", JOB, "--scorer", "contains")
    assert server.sent() == {"scorers": [{"type": "contains"}]}
    assert result.stdout == "job_2\n"


def test_a_projects_budget_is_shown_set_and_removed(server, hikaku):
    server.on("GET /projects/赤/budget", BUDGET).on("PUT /projects/赤/budget", BUDGET)
    server.on("DELETE /projects/赤/budget", {})
    assert "23 of 25" in hikaku("budget", "赤").stdout
    hikaku("budget", "赤", "--limit", "25")
    assert server.sent() == {"limit_usd": "25.0"}
    assert hikaku("budget", "赤", "--remove").exit_code == 0
    assert "残り 23" in hikaku("budget", "赤", "--lang", "ja").stdout


@pytest.mark.parametrize("project", ["a/b", "", " "])
@pytest.mark.parametrize("more", [[], ["--limit", "1"], ["--remove"]])
def test_a_budget_belongs_to_a_name_that_a_project_can_have(server, hikaku, project, more):
    result = hikaku("budget", project, *more)
    assert result.exit_code == 2
    assert f"{project!r} is no project" in result.stderr
    assert not server.requests
