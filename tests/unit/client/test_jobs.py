import re

import httpx2
import pytest
from hikaku_client.errors import InvalidRequest, NotReachable, WaitTimeout
from hikaku_client.jobs import LONGEST_PAUSE, PATIENCE
from typing_extensions import override

from tests.unit.client.fake import cell, comparison, counts, job, page, running

FAILED = job(
    state="completed_with_errors",
    counts=counts(120, ok=115, truncated=2, provider_error=2, rate_limited=1),
)


def started(server, client, *looks):
    server.on("GET /jobs/j", *looks)
    return client.job("j")


def on(server, found):
    """Later looks at a job go by its own id."""
    server.routes[f"GET /jobs/{found.id}"] = server.routes["GET /jobs/j"]
    return found


def test_waiting_ends_with_the_job(server, client, capsys):
    found = on(server, started(server, client, *running(20, 70)))
    assert found.wait().state == "completed"
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "running · 20 of 120 cells · 0 failed · 4.0 a second · about 25 s left"
    assert lines[-1] == "completed · 120 of 120 cells · 0 failed"


def test_progress_outside_a_terminal_has_no_control_codes_and_no_haste(server, client, capsys):
    looks = list(running(*range(2, 100, 2)))
    on(server, started(server, client, *looks)).wait()
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\r" not in err
    assert len(err.splitlines()) < len(looks) / 4


def test_waiting_without_progress_says_nothing(server, client, capsys):
    on(server, started(server, client, *running(20))).wait(progress=False)
    assert capsys.readouterr() == ("", "")


def test_looks_grow_rarer_but_not_rare(server, client, watch):
    on(server, started(server, client, *running(*[1] * 30))).wait(progress=False)
    assert watch.slept == sorted(watch.slept)
    assert watch.slept[-1] == LONGEST_PAUSE


def test_a_time_limit_ends_the_waiting_and_not_the_job(server, client, watch):
    found = on(server, started(server, client, *running(*[1] * 100)))
    with pytest.raises(WaitTimeout, match="within 5 s"):
        found.wait(progress=False, timeout=5)
    assert 5 <= watch.time < 5 + LONGEST_PAUSE
    assert all(request.method == "GET" for request in server.requests)


def test_a_server_that_restarts_is_waited_for(server, client):
    gone = [httpx2.ConnectError("refused")] * 8
    found = on(server, started(server, client, *running(50), *gone, job()))
    server.routes[f"GET /jobs/{found.id}"][:1] = gone
    assert found.wait().state == "completed"


def test_a_server_that_stays_away_is_given_up(server, client, watch):
    found = started(server, client, *running(50))
    server.on(f"GET /jobs/{found.id}", httpx2.ConnectError("refused"))
    with pytest.raises(NotReachable):
        found.wait(progress=False)
    assert watch.time >= PATIENCE


def test_interrupting_detaches_and_says_how_to_come_back(server, client, capsys):
    found = started(server, client, *running(50))
    server.on(f"GET /jobs/{found.id}", KeyboardInterrupt())
    server.routes[f"GET /jobs/{found.id}"] = [_interrupt]
    with pytest.raises(KeyboardInterrupt):
        found.wait()
    err = capsys.readouterr().err
    assert f"client.job('{found.id}').wait()" in err
    assert f"hikaku watch {found.id} --url http://test" in err
    assert all(request.method == "GET" for request in server.requests)


def _interrupt(_: httpx2.Request) -> object:
    raise KeyboardInterrupt


def test_results_are_a_frame_with_inputs_and_scores(server, client):
    found = started(server, client, job())
    failed = cell(
        1,
        outcome="timeout",
        completion=None,
        output_tokens=None,
        latency_ms=None,
        scores={"contains": {"value": None, "unscored": "no completion"}},
    )
    server.on(f"GET /jobs/{found.id}/cells", page([cell(0)], has_more=True), page([failed]))
    frame = found.results()
    assert list(frame["input.object"]) == ["りんご", "りんご"]
    assert frame["score.contains"].tolist()[0] == 1.0
    assert frame["score.contains"].isna().tolist() == [False, True]
    assert frame["unscored.contains"].tolist()[1] == "no completion"
    assert str(frame["output_tokens"].dtype) == "Int64"
    assert frame["output_tokens"].isna().tolist() == [False, True]


def test_a_job_without_cells_gives_an_empty_frame(server, client):
    found = started(server, client, job())
    server.on(f"GET /jobs/{found.id}/cells", page([]))
    assert found.results().empty


def test_failed_cells_are_asked_for_by_their_outcomes(server, client):
    found = started(server, client, job())
    server.on(f"GET /jobs/{found.id}/cells", page([cell(3, outcome="timeout")]))
    assert [c["row"] for c in found.cells(failed=True)] == [3]
    (query,) = server.asked(f"GET /api/v1/jobs/{found.id}/cells")
    assert "timeout" in query["outcome"]
    assert "refused" not in query["outcome"]
    assert "ok" not in query["outcome"]


def test_cells_without_a_result_count_as_errors_whatever_kept_them(server, client):
    lost = counts(100, ok=90, refused=2, timeout=3, cancelled=4)
    found = started(server, client, job(counts=lost, state="cancelled"))
    assert found.error_rate == pytest.approx(0.08)


def test_failures_are_tried_again_once(server, client):
    found = started(server, client, FAILED)
    server.on(f"POST /jobs/{found.id}/retry-failed", httpx2.ReadError(""), job(state="queued"))
    assert found.retry_failed(["timeout"]).state == "queued"
    assert server.sent() == {"outcomes": ["timeout"]}
    sent = [request.headers["idempotency-key"] for request in server.requests[1:]]
    assert len(sent) == 2
    assert len(set(sent)) == 1


def test_an_export_appears_whole_or_not_at_all(server, client, tmp_path):
    found = started(server, client, job())
    target = tmp_path / "out.csv"

    def broken():
        yield b"row,"
        raise httpx2.ReadError("cut off")

    class Cut(httpx2.SyncByteStream):
        @override
        def __iter__(self):
            return broken()

    export = f"GET /jobs/{found.id}/export"
    server.on(export, httpx2.Response(200, stream=Cut()))
    with pytest.raises(NotReachable, match="cut off"):
        found.export(target)
    assert list(tmp_path.iterdir()) == []
    server.on(export, httpx2.Response(200, content="row\n色\n".encode()))
    assert found.export(target, excel=True).read_text(encoding="utf-8") == "row\n色\n"
    assert server.asked(f"GET /api/v1/jobs/{found.id}/export")[-1] == {
        "format": ["csv"],
        "excel": ["true"],
    }


def test_an_export_that_is_refused_says_why(server, client, tmp_path):
    found = started(server, client, job())
    with pytest.raises(InvalidRequest, match="excel"):
        found.export(tmp_path / "out.jsonl", excel=True)


def test_a_job_shows_itself_in_a_notebook_without_trusting_its_name(server, client):
    found = started(server, client, job(name="<script>"))
    assert "<script>" not in found._repr_html_()
    assert "&lt;script&gt;" in found._repr_html_()


def test_a_comparison_prints_and_becomes_a_frame(server, client):
    found = started(server, client, job())
    server.on("GET /comparisons", comparison())
    compared = found.compare()
    assert "0.491 [0.37, 0.62]" in str(compared)
    frame = compared.to_pandas()
    assert frame["versus_baseline.difference"].tolist()[1] == 0.271
    assert frame["versus_baseline.difference"].isna().tolist() == [True, False]
    assert not re.search("<script|onerror", compared._repr_html_())
