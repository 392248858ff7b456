import json
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.unit.client.fake import (
    cell,
    comparison,
    counts,
    estimate,
    job,
    page,
    problem,
    running,
)

JOB = job()["id"]
SPEC = """\
prompt: "{{object}}は何色ですか?"
rows: [{object: りんご}]
endpoints: [smollm2-135m-instruct]
"""
FAILED = job(
    state="completed_with_errors", counts=counts(120, ok=117, provider_error=2, rate_limited=1)
)


@pytest.fixture
def spec(tmp_path: Path) -> str:
    path = tmp_path / "色.yaml"
    path.write_text(SPEC, encoding="utf-8")
    return str(path)


def ends(server, *looks):
    """A job that is submitted, looked at, and compared."""
    first, *rest = looks
    server.on("POST /jobs", first).on(f"GET /jobs/{JOB}", *(rest or [first]))
    return server.on("GET /comparisons", comparison())


def test_a_job_is_started_and_the_way_back_is_told(server, hikaku, spec):
    server.on("POST /jobs", job(state="queued"))
    result = hikaku("run", spec)
    assert result.exit_code == 0
    assert result.stdout == f"{JOB}\n"
    assert f"hikaku watch {JOB}" in result.stderr
    assert server.sent()["name"] == "色"


def test_options_change_the_spec(server, hikaku, spec):
    server.on("POST /jobs", job(state="queued"))
    hikaku("run", spec, "--name", "夜", "--reuse")
    assert (server.sent()["name"], server.sent()["reuse"]) == ("夜", "on")


@pytest.mark.parametrize("option", ["--wait", "--watch"])
def test_waiting_ends_with_the_comparison_and_where_to_look(server, hikaku, spec, option):
    ends(server, *running(40))
    result = hikaku("run", spec, option)
    assert result.exit_code == 0
    assert "▲ +0.271" in result.stdout
    assert "http://mlflow/#/runs/r" in result.stdout
    assert "http://test/docs" in result.stdout
    assert f"hikaku export {JOB}" in result.stdout
    assert "40 of 120 cells" in result.stderr
    assert "\x1b" not in result.output


def test_reused_completions_are_told(server, hikaku, spec):
    ends(server, job(reused=120))
    assert "120 of 120 cells were answered from recorded" in hikaku("run", spec, "--wait").stdout


@pytest.mark.parametrize(
    ("limit", "code"), [((), 5), (("--max-error-rate", "2%"), 5), (("--max-error-rate", "0.03"), 0)]
)
def test_failed_cells_end_with_5_unless_so_many_are_allowed(server, hikaku, spec, limit, code):
    ends(server, FAILED)
    result = hikaku("run", spec, "--wait", *limit)
    assert result.exit_code == code
    assert f"hikaku cells {JOB} --failed" in result.stdout
    assert "2.5 %" in result.stderr or code == 0


def test_a_job_that_was_cancelled_half_way_is_no_success(server, hikaku, spec):
    ends(server, job(state="cancelled", counts=counts(120, ok=60, cancelled=60)))
    assert hikaku("run", spec, "--wait").exit_code == 5


def test_a_job_that_broke_off_says_why(server, hikaku, spec):
    ends(server, job(state="failed", counts=counts(120, ok=60), error="a shard was lost"))
    result = hikaku("run", spec, "--wait")
    assert result.exit_code == 5
    assert "a shard was lost" in result.stdout


def test_a_time_limit_ends_with_6_and_the_way_back(server, hikaku, spec):
    ends(server, *running(*[10] * 50))
    result = hikaku("run", spec, "--wait", "--timeout", "3")
    assert result.exit_code == 6
    assert f"hikaku watch {JOB}" in result.stderr


def test_a_gate_ends_with_100(server, hikaku, spec):
    ends(server, job())
    result = hikaku("run", spec, "--wait", "--gate", "score.contains>=0.4")
    assert result.exit_code == 100
    assert "smollm2-135m-instruct is 0.217" in result.stderr


@pytest.mark.parametrize(
    "option",
    [("--gate", "score.contains>=0.4"), ("--max-error-rate", "0"), ("--timeout", "3")],
)
def test_what_only_the_end_tells_is_refused_where_nobody_waits_for_it(server, hikaku, spec, option):
    result = hikaku("run", spec, *option)
    assert result.exit_code == 2
    assert f"{option[0]}: only the end of the job tells; add --wait or --watch" in result.stderr
    assert server.requests == []


def test_a_gate_on_a_difference_ends_with_100_where_nothing_was_compared(server, hikaku, spec):
    ends(server, job()).on("GET /comparisons", comparison(columns=comparison()["columns"][:1]))
    result = hikaku("run", spec, "--wait", "--gate", "delta.contains>=0")
    assert result.exit_code == 100
    assert "gate delta.contains>=0 does not hold: nothing to compare with" in result.stderr


@pytest.mark.parametrize(
    ("known", "language", "line"),
    [
        (("0.0120", 0), "en", "cost (USD)   0.012"),
        (("0.0120", 1_200), "en", "cost (USD)   at least 0.012 USD; 1,200 calls of unknown cost"),
        (("0.0120", 3), "ja", "費用 (USD)        0.012 USD 以上、費用不明の呼び出し 3 回"),
        ((None, 3), "en", "cost (USD)   – (3 calls of unknown cost)"),
        ((None, 3), "ja", "費用 (USD)        – (費用不明の呼び出し 3 回)"),
    ],
)
def test_a_cost_that_is_known_in_part_says_so(server, hikaku, known, language, line):
    cost, unknown = known
    server.on(f"GET /jobs/{JOB}", job(cost_usd=cost, cost_unknown_calls=unknown))
    shown = hikaku("show", JOB, "--lang", language).stdout
    told = [" ".join(part.split()) for part in shown.splitlines()]
    assert " ".join(line.split()) in told


@pytest.mark.parametrize(
    ("tokens", "line"),
    [
        ({"input": 2400, "output": 0}, "2,400 / 0"),
        ({"input": 2400, "output": None}, "2,400 / –"),
        ({"input": None, "output": None}, "– / –"),
    ],
)
def test_tokens_that_nobody_reported_are_not_shown_as_none_or_zero(server, hikaku, tokens, line):
    server.on(f"GET /jobs/{JOB}", job(tokens=tokens))
    told = [" ".join(part.split()) for part in hikaku("show", JOB).stdout.splitlines()]
    assert f"tokens in / out {line}" in told


@pytest.mark.parametrize(
    ("language", "line"),
    [
        ("en", "vendor's batches 1 waiting, 2 running, 3 ended, 0 given up (90,000 requests)"),
        ("ja", "ベンダーのバッチ 待機 1、実行中 2、終了 3、断念 0 (リクエスト 90,000 件)"),
    ],
)
def test_batches_at_a_vendor_are_shown_with_what_they_met(server, hikaku, language, line):
    batches = {"waiting": 1, "running": 2, "ended": 3, "given_up": 0, "requests": 90_000}
    server.on(f"GET /jobs/{JOB}", job(vendor_batches=batches | {"error": "Unavailable: gone"}))
    told = " ".join(hikaku("show", JOB, "--lang", language).stdout.split())
    assert line in told
    assert "(Unavailable: gone)" in told


def test_ctrl_c_detaches_with_130_and_stops_nothing(server, hikaku):
    def interrupt(_):
        raise KeyboardInterrupt

    server.on(f"GET /jobs/{JOB}", *running(10))
    server.routes[f"GET /jobs/{JOB}"][1:] = [interrupt]
    result = hikaku("watch", JOB)
    assert result.exit_code == 130
    assert f"the job goes on. Come back with:\n  hikaku watch {JOB}" in result.stderr
    assert all(request.method == "GET" for request in server.requests)


def test_json_is_alone_on_stdout_and_unescaped(server, hikaku, spec):
    ends(server, *running(40))
    result = hikaku("run", spec, "--wait", "--json")
    assert "初めてのジョブ" in result.stdout
    (line,) = result.stdout.splitlines()
    assert json.loads(line) == {"job": job(), "comparison": comparison()}
    assert "40 of 120" in result.stderr


def test_a_list_is_a_line_of_json_each(server, hikaku):
    server.on("GET /jobs", page([job(), job(id="job_2")]))
    lines = hikaku("jobs", "--json").stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [JOB, "job_2"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(401, "no key"), 3),
        (problem(403, "not yours"), 3),
        (problem(404, "there is no job"), 2),
        (problem(422, "bad id"), 2),
        (problem(500, "broken"), 1),
        (httpx2.ConnectError("refused"), 1),
    ],
)
def test_a_failure_ends_with_the_code_of_what_can_be_done(server, hikaku, answer, code):
    server.on("GET /jobs/j", answer)
    result = hikaku("show", "j")
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("hikaku: ")


def test_a_wrong_spec_ends_with_2_before_anything_is_sent(server, hikaku, tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(SPEC.replace("prompt", "promt"), encoding="utf-8")
    result = hikaku("run", str(path))
    assert result.exit_code == 2
    assert f"{path}:1:1: unknown key 'promt'; did you mean 'prompt'?" in result.stderr
    assert server.requests == []


def test_the_servers_refusal_points_into_the_file(server, hikaku, spec):
    faults = [{"pointer": "/endpoints/0", "message": "there is no endpoint 'smollm2'"}]
    server.on("POST /jobs", problem(422, "no", errors=faults))
    result = hikaku("run", spec)
    assert result.exit_code == 2
    assert f"{spec}:3:13: there is no endpoint 'smollm2'" in result.stderr


def test_rows_of_a_file_go_up_as_a_dataset(server, hikaku, tmp_path):
    (tmp_path / "q.csv").write_text("object\n空\n", encoding="utf-8")
    path = tmp_path / "s.yaml"
    path.write_text(SPEC.replace("rows: [{object: りんご}]", "rows_file: q.csv"), encoding="utf-8")
    uploaded = {"id": "ds_9", "name": "q", "revision": 3, "rows": 1, "columns": ["object"]}
    server.on("POST /datasets", uploaded).on("POST /jobs", job())
    result = hikaku("run", str(path))
    assert result.exit_code == 0
    assert "Uploaded 1 rows as dataset q, revision 3: ds_9" in result.stderr
    assert server.sent()["dataset"] == {"id": "ds_9"}
    assert "rows_file" not in server.sent()


def test_japanese_is_spoken_where_it_is_asked_for(server, hikaku):
    server.on("GET /jobs", page([job()]))
    assert "ジョブ" in hikaku("jobs", "--lang", "ja").stdout
    assert "completed" in hikaku("jobs").stdout


def test_cells_show_answers_and_reasons_without_their_control_codes(server, hikaku):
    lost = cell(1, outcome="timeout", completion=None, error="no answer in 60 s", scores={})
    evil = cell(2, completion="\x1b[2Jgone")
    server.on(f"GET /jobs/{JOB}", job())
    server.on(f"GET /jobs/{JOB}/cells", page([cell(0), lost, evil]))
    result = hikaku("cells", JOB)
    assert "りんごは赤色です。" in result.stdout
    assert "no answer in 60 s" in result.stdout
    assert "\x1b" not in result.stdout


def test_only_so_many_cells_are_shown_and_that_is_said(server, hikaku):
    server.on(f"GET /jobs/{JOB}", job())
    server.on(f"GET /jobs/{JOB}/cells", page([cell(i) for i in range(10)]))
    result = hikaku("cells", JOB, "--limit", "3")
    assert result.stdout.count("りんご") == 3
    assert "first 3" in result.stderr
    assert "first" not in hikaku("cells", JOB, "--limit", "10").stderr


def test_an_export_to_stdout_is_the_servers_bytes(server, hikaku):
    server.on(f"GET /jobs/{JOB}", job())
    content = '{"completion":"赤"}\n'.encode()
    server.on(f"GET /jobs/{JOB}/export", httpx2.Response(200, content=content))
    assert hikaku("export", JOB).stdout_bytes == content


def test_chat_prints_the_answer_alone(server, hikaku):
    usage = {"input_tokens": 5, "output_tokens": None}
    answer = {"endpoint": "a", "completion": "赤です。", "finish_reason": "stop", "usage": usage}
    server.on("POST /chat", {**answer, "latency_ms": 3.2, "model": "m"})
    said = hikaku("chat", "a", "{{x}}は?", "--var", "x=空=青", "--param", "temperature=0")
    assert said.stdout == "赤です。\n"
    assert "5 + – tokens" in said.stderr
    assert server.sent() == {
        "endpoint": "a",
        "template": "{{x}}は?",
        "variables": {"x": "空=青"},
        "params": {"temperature": 0},
    }
    hikaku("chat", "a", "何色?", "--param", "top_p=.5", "--param", "stop=.")
    assert server.sent()["params"] == {"top_p": 0.5, "stop": "."}
    hikaku("chat", "a", "-", "--system", "短く", stdin="何色?")
    assert server.sent()["messages"] == [
        {"role": "system", "content": "短く"},
        {"role": "user", "content": "何色?"},
    ]


def test_use_is_shown_with_what_is_not_known(server, hikaku):
    sums = {
        "group": "gpt", "calls": 12, "failed": 1, "provider_calls": 14, "cached": 0,
        "input_tokens": 300, "output_tokens": 40, "cost_usd": "0.5", "cost_unknown_calls": 2,
        "of_jobs": 10,
    }  # fmt: skip
    times = {"since": "2026-11-01T00:00:00Z", "until": "2026-11-22T00:00:00Z"}
    server.on("GET /usage", {**times, "group_by": "endpoint", "data": [sums]})
    shown = hikaku("usage", "--by", "endpoint").stdout
    assert "300 + 40" in shown
    assert "0.5 (+2?)" in shown
    server.on("GET /usage", {**times, "group_by": "endpoint", "data": [sums | {"cost_usd": None}]})
    assert "– (+2?)" in hikaku("usage").stdout
    assert "呼び出し" in hikaku("usage", "--lang", "ja").stdout


def test_endpoints_say_why_they_cannot_be_asked(server, hikaku):
    known = {"name": "gpt", "endpoint_type": "llm/v1/chat", "provider": "openai", "model": "m"}
    body = {"data": [{**known, "available": False, "reason": "$OPENAI_API_KEY is not set"}]}
    server.on("GET /endpoints", body)
    assert "no: $OPENAI_API_KEY is not set" in hikaku("endpoint", "ls").stdout


def test_a_file_that_cannot_be_used_is_shown_beside_the_endpoints(server, hikaku):
    error = "gateway.yaml, line 3, column 5: unknown key `modle`; did you mean `model`?\n    3 | x"
    config = {"path": "/g.yaml", "loaded_at": None, "error": error, "warnings": ["[spare] is old"]}
    server.on("GET /endpoints", {"data": [], "config": config})
    ran = hikaku("endpoint", "ls")
    assert error.splitlines()[0] in ran.stderr
    assert "    3 | x" in ran.stderr
    assert "[spare] is old" in ran.stderr


def test_a_reload_is_asked_of_the_server(server, hikaku):
    server.on("POST /endpoints/reload", {"data": [], "config": None})
    assert "0 endpoint" in hikaku("endpoint", "reload").stderr


def test_a_schedule_is_made_from_a_spec_and_its_faults_point_there(server, hikaku, spec):
    made = {
        "id": "sch_1",
        "name": "夜",
        "cron": "30 2 * * *",
        "time_zone": "Asia/Tokyo",
        "paused": False,
        "next_fire_at": "2026-11-22T17:30:00Z",
        "next_fires": ["2026-11-22T17:30:00Z"],
        "last_slots": [],
    }
    server.on("POST /schedules", made)
    zone = ("--cron", "30 2 * * *", "--time-zone", "Asia/Tokyo", "--missed", "run-latest")
    result = hikaku("schedule", "add", spec, "--name", "夜", *zone)
    assert result.exit_code == 0
    assert "Asia/Tokyo" in result.stdout
    assert server.sent()["missed_policy"] == "run_latest"
    assert server.sent()["job"]["prompt"] == {"template": "{{object}}は何色ですか?"}
    faults = [{"pointer": "/job/endpoints/0", "message": "there is none"}]
    server.on("POST /schedules", problem(422, "no", errors=faults))
    assert f"{spec}:3:13: there is none" in hikaku("schedule", "add", spec, *zone).stderr


def test_mlflow_that_is_behind_is_waited_for_a_moment_and_then_left(server, hikaku, watch):
    behind = {"state": "pending", "error": "connection refused"}
    server.on(f"GET /jobs/{JOB}", job(mlflow=behind)).on("GET /comparisons", comparison())
    result = hikaku("watch", JOB)
    assert result.exit_code == 0
    assert "connection refused" in result.stdout
    assert watch.time <= 11


def test_missing_scores_are_no_zero_in_json_either(server, hikaku):
    answer = comparison()
    answer["columns"][0]["scores"]["contains"] = estimate(None, None, None, 0)
    server.on("GET /comparisons", answer)
    first = json.loads(hikaku("compare", JOB, "--json").stdout)["columns"][0]
    assert first["scores"]["contains"]["mean"] is None


def test_a_server_command_says_how_to_get_the_server(hikaku):
    if not any(name == "up" for name in _installed()):
        result = hikaku("up")
        assert result.exit_code == 2
        assert "pip install '.[stack]'" in result.stderr


def _installed() -> list[str]:
    from importlib.metadata import entry_points  # noqa: PLC0415

    return [entry.name for entry in entry_points(group="hikaku.commands")]


def test_help_names_every_command_and_loads_none():
    script = (
        "import sys\n"
        "from hikaku_client.cli import root\n"
        "root(['--help'], standalone_mode=False)\n"
        "print([m for m in ('httpx2', 'rich', 'yaml', 'pandas') if m in sys.modules])\n"
    )
    command = [sys.executable, "-c", script]
    out = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    assert out.splitlines()[-1] == "[]"
    for name in ("run", "retry-failed", "schedule", "up", "doctor"):
        assert f"\n  {name} " in out


@pytest.mark.parametrize("name", ["run", "watch", "jobs", "show", "cells", "compare", "export",
                                  "cancel", "retry-failed", "retry", "pause", "resume", "extend",
                                  "chat", "endpoint", "dataset", "schedule"])  # fmt: skip
def test_every_command_explains_itself(hikaku, name):
    result = hikaku(name, "--help")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 5


def test_output_is_utf_8_whatever_the_locale_says():
    script = (
        "import sys\n"
        "sys.argv = ['hikaku', '--help']\n"
        "from hikaku_client.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print('色', sys.stdout.encoding)\n"
    )
    environ = {"PYTHONIOENCODING": "latin-1", "PATH": "/usr/bin"}
    command = [sys.executable, "-c", script]
    out = subprocess.run(command, capture_output=True, check=True, env=environ).stdout
    assert out.decode("utf-8").splitlines()[-1] == "色 utf-8"
