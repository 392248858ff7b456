from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from hikaku.comparison import Column, ScoreDifference, ScoreSummary
from hikaku.jobs import JobState, Outcome
from hikaku.specs import Snapshot
from hikaku.statistics import Method
from hikaku.storage.jobs import EndpointProgress
from workers.tracking.mapping import child_content, parent_content, status_of
from workers.tracking.subject import TrackedJob

NOW = datetime(2026, 11, 21, tzinfo=UTC)
UNSCORED = ScoreSummary(n=0, cells=0, coverage=0.0, mean=None, low=None, high=None, method=None)


def snapshot(template="{{object}}は何色ですか?", variables=("object",), params=None, messages=None):
    endpoint = {
        "endpoint_type": "llm/v1/chat",
        "provider": "tgi",
        "settings": {"base_url": "http://tgi"},
        "params": params or {},
    }
    return Snapshot.model_validate(
        {
            "prompt": {"id": "pt_1", "name": "色", "version": 3, "variables": variables}
            | {"messages": messages or [{"role": "user", "content": template}]},
            "dataset": {"id": "ds_1", "name": "果物", "revision": 2, "n_rows": 4}
            | {"fingerprint": "abc"},
            "endpoints": [
                endpoint | {"name": "a", "model": "m-a", "fingerprint": "fa"},
                endpoint | {"name": "b", "model": None, "fingerprint": "fb"},
            ],
            "scorers": [
                {"type": "exact_match", "name": "正解/率", "version": 2, "target": "expected"}
                | {"options": {"normalize": ["nfkc"]}}
            ],
            "repeats": 1,
            "baseline": "a",
            "reuse": "off",
            "tags": {"担当": "夜勤"},
        }
    )


def progress(ok=4, timeout=0, unknown=0, cost="0.5"):
    counts = dict.fromkeys(Outcome, 0) | {Outcome.OK: ok, Outcome.TIMEOUT: timeout}
    return EndpointProgress(
        counts=counts,
        calls=ok + timeout,
        repeated_calls=1,
        reused=0,
        input_tokens=40,
        output_tokens=20,
        cost_usd=Decimal(cost),
        cost_unknown_calls=unknown,
        in_hand=0,
    )


def column(score=UNSCORED, versus=None, ok=4):
    return Column(
        job="job_1",
        endpoint="a",
        model="m-a",
        cells=4,
        outcomes={Outcome.OK: ok, Outcome.TIMEOUT: 4 - ok},
        scores={"正解/率": score},
        latency_p50_ms=None,
        latency_p95_ms=None,
        input_tokens=None,
        output_tokens=None,
        cost_usd=None,
        versus_baseline=versus,
    )


def job(**changes):
    given = TrackedJob(
        id="job_1",
        name="夜",
        state=JobState.COMPLETED,
        round=0,
        started_at=NOW,
        finished_at=NOW,
        url="http://hikaku/jobs/job_1",
        snapshot=snapshot(),
        progress={0: progress(), 1: progress()},
        columns=(column(), column()),
    )
    return replace(given, **changes)


def test_parameters_say_what_decided_the_results():
    params = child_content(job(), 0, table_rows=4).params
    assert params["prompt_template"] == "{{object}}は何色ですか?"
    assert params["prompt_version"] == "3"
    assert (params["dataset"], params["dataset_revision"]) == ("果物", "2")
    assert params["dataset_fingerprint"] == "abc"
    assert params["scorers"] == "正解/率 v2"
    assert params["scorer.正解_率"] == (
        '{"type": "exact_match", "version": 2, "target": "expected",'
        ' "options": {"normalize": ["nfkc"]}}'
    )
    assert (params["endpoint"], params["model_route"], params["model"]) == ("a", "a", "m-a")


def test_a_model_that_is_not_known_is_no_parameter():
    assert "model" not in child_content(job(), 1, table_rows=4).params


def test_sampling_parameters_are_written_as_the_prompt_page_reads_them():
    given = {"temperature": 0.0, "max_tokens": 64, "stop": ["。", "END"], "best/of 👍": {"あ": 1}}
    params = child_content(job(snapshot=snapshot(params=given)), 0, table_rows=4).params
    assert params["temperature"] == "0.0"
    assert params["max_tokens"] == "64"
    assert params["stop"] == "[。, END]"
    assert params["param.best_of _"] == '{"あ": 1}'
    assert "top_p" not in params


def test_a_long_template_is_cut_where_mlflow_would_and_a_tag_says_so():
    content = child_content(job(snapshot=snapshot("{{object}}" + "あ" * 6000)), 0, table_rows=4)
    assert content.params["prompt_template"] == "{{object}}" + "あ" * 5990
    assert "first 6000 of 6010" in content.tags["hikaku.prompt_template_cut"]


def test_a_short_template_is_whole_and_has_no_such_tag():
    assert "hikaku.prompt_template_cut" not in child_content(job(), 0, table_rows=4).tags


def test_what_was_not_scored_or_reported_has_no_metric():
    metrics = child_content(job(), 0, table_rows=4).metrics
    assert metrics["正解_率/coverage"] == 0
    absent = {"正解_率/mean", "正解_率/low", "latency_p50_ms", "input_tokens"}
    assert not absent & metrics.keys()


def test_a_score_comes_with_its_interval_coverage_and_difference():
    score = ScoreSummary(
        n=2, cells=2, coverage=0.5, mean=0.5, low=0.1, high=0.9, method=Method.WILSON
    )
    difference = ScoreDifference(
        pairs=2,
        difference=-0.5,
        low=-0.9,
        high=None,
        p_value=1.0,
        method=Method.NEWCOMBE_MCNEMAR,
        wins=0,
        losses=1,
        ties=1,
    )
    columns = (column(), column(score, {"正解/率": difference}, ok=2))
    metrics = child_content(job(columns=columns), 1, table_rows=4).metrics
    scores = {key: value for key, value in metrics.items() if key.startswith("正解_率/")}
    assert scores == {
        "正解_率/mean": 0.5,
        "正解_率/low": 0.1,
        "正解_率/high": 0.9,
        "正解_率/coverage": 0.5,
        "正解_率/rows": 2,
        "正解_率/versus_baseline/difference": -0.5,
        "正解_率/versus_baseline/low": -0.9,
        "正解_率/versus_baseline/p_value": 1.0,
        "正解_率/versus_baseline/pairs": 2,
    }


@pytest.mark.parametrize(("unknown", "cost"), [(0, 0.5), (1, None)])
def test_a_cost_is_written_only_when_that_of_every_call_is_known(unknown, cost):
    metrics = child_content(job(progress={0: progress(unknown=unknown)}), 0, table_rows=4).metrics
    assert metrics.get("cost_usd") == cost
    assert metrics["calls/cost_unknown"] == unknown


def test_the_parent_counts_over_all_endpoints():
    content = parent_content(
        job(
            progress={0: progress(ok=3, timeout=1), 1: progress()}, columns=(column(ok=3), column())
        ),
        compare_url="#/x",
    )
    assert content.metrics["cells/planned"] == 8
    assert content.metrics["cells/recorded"] == 8
    assert (content.metrics["cells/ok"], content.metrics["cells/timeout"]) == (7, 1)
    assert content.metrics["cost_usd"] == 1.0
    assert content.params["endpoints"] == "a, b"
    assert content.tags["hikaku.tags.担当"] == "夜勤"
    assert content.tags["mlflow.note.content"] == (
        "[Endpoints side by side](#/x) · [job_1 in Hikaku](http://hikaku/jobs/job_1)"
    )


def test_cells_that_were_never_asked_are_counted_and_not_recorded():
    asked = replace(column(), outcomes={Outcome.OK: 1, Outcome.CANCELLED: 3})
    given = job(state=JobState.CANCELLED, progress={0: progress(ok=1)}, columns=(asked,))
    metrics = parent_content(given, compare_url="#/x").metrics
    assert (metrics["cells/planned"], metrics["cells/recorded"]) == (4, 1)
    assert (metrics["cells/ok"], metrics["cells/cancelled"]) == (1, 3)


def test_a_table_says_how_much_of_the_cells_it_holds():
    tags = child_content(job(), 0, table_rows=3).tags
    assert tags["hikaku.table_rows"] == "3 of 4 cells"
    assert (
        tags["mlflow.loggedArtifacts"] == '[{"path": "eval_results_table.json", "type": "table"}]'
    )


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        (snapshot(), True),
        (snapshot("{{質問}}", ["質問"]), False),
        (snapshot(messages=[{"role": "system", "content": "x"}]), False),
    ],
)
def test_the_prompt_look_is_given_only_where_the_page_can_ask_again(given, fits):
    tags = child_content(job(snapshot=given), 0, table_rows=4).tags
    assert (tags.get("mlflow.runSourceType") == "PROMPT_ENGINEERING") is fits


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (JobState.COMPLETED, "FINISHED"),
        (JobState.COMPLETED_WITH_ERRORS, "FINISHED"),
        (JobState.FAILED, "FAILED"),
        (JobState.CANCELLED, "KILLED"),
    ],
)
def test_a_run_ends_as_its_job_did(state, status):
    assert status_of(state) == status
