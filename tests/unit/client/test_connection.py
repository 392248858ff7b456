import httpx2
import pytest
from hikaku_client.connection import PAUSES
from hikaku_client.errors import (
    Conflict,
    InvalidRequest,
    NotAllowed,
    NotFound,
    NotReachable,
    ServerFailed,
    Unavailable,
)

from tests.unit.client.fake import comparison, job, page, problem

SPEC = {"prompt": {"template": "{{q}}"}, "rows": [{"q": "りんご"}], "endpoints": ["a"]}


def keys(server) -> list[str]:
    return [request.headers["idempotency-key"] for request in server.requests]


def test_a_job_posted_again_after_a_lost_answer_carries_the_same_key(server, client, watch):
    lost = httpx2.ReadError("connection reset")
    server.on("POST /jobs", lost, problem(503, "restarting"), job())
    assert client.submit(SPEC).state == "completed"
    assert len(server.requests) == 3
    assert len(set(keys(server))) == 1
    assert watch.slept == list(PAUSES[:2])


def test_two_jobs_carry_two_keys(server, client):
    server.on("POST /jobs", job())
    client.submit(SPEC)
    client.submit(SPEC)
    assert len(set(keys(server))) == 2


def test_a_job_still_being_made_under_its_key_is_waited_for(server, client):
    busy = problem(409, "the first is at work", code="request_in_flight")
    server.on("POST /jobs", httpx2.ReadError(""), busy, job())
    assert client.submit(SPEC).id == job()["id"]


def test_a_conflict_of_another_kind_is_told_at_once(server, client):
    server.on("POST /jobs/j/cancel", problem(409, "a job that is completed cannot be cancelled"))
    server.on("GET /jobs/j", job(id="j"))
    found = client.job("j")
    with pytest.raises(Conflict, match="cannot be cancelled"):
        found.cancel()
    assert len(server.requests) == 2


def test_a_question_is_never_asked_twice(server, client):
    server.on("POST /chat", httpx2.ReadError("gone"))
    with pytest.raises(NotReachable, match="gone"):
        client.chat("a", prompt="hello")
    assert len(server.requests) == 1
    assert "idempotency-key" not in server.requests[0].headers


def test_reading_gives_up_after_the_last_pause(server, client, watch):
    server.on("GET /jobs/j", httpx2.ConnectError("refused"))
    with pytest.raises(NotReachable, match="hikaku up"):
        client.job("j")
    assert watch.slept == list(PAUSES)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, InvalidRequest),
        (401, NotAllowed),
        (403, NotAllowed),
        (404, NotFound),
        (409, Conflict),
        (413, InvalidRequest),
        (422, InvalidRequest),
        (424, Unavailable),
        (429, Unavailable),
        (500, ServerFailed),
        (504, Unavailable),
    ],
)
def test_a_status_means_what_the_caller_can_do(server, client, status, error):
    server.on("POST /chat", problem(status, "the reason", code="c"))
    with pytest.raises(error, match="the reason") as caught:
        client.chat("a", prompt="x")
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.code) == (status, "c")


def test_a_refusal_reads_well_in_a_terminal(server, client):
    faults = [{"pointer": "/endpoints/0", "message": "there is no endpoint 'a'"}]
    server.on("POST /jobs", problem(422, "the job cannot be done", errors=faults))
    with pytest.raises(InvalidRequest) as caught:
        client.submit(SPEC)
    assert str(caught.value) == ("the job cannot be done\n  /endpoints/0: there is no endpoint 'a'")


def test_a_fault_that_is_the_whole_refusal_is_told_once(server, client):
    faults = [{"pointer": "query endpoint", "message": "there is no endpoint 'a'"}]
    server.on("GET /jobs/j", problem(422, "there is no endpoint 'a'", errors=faults))
    with pytest.raises(InvalidRequest) as caught:
        client.job("j")
    assert str(caught.value) == "there is no endpoint 'a'"


def test_a_failure_without_a_problem_is_still_told(server, client):
    server.on("GET /jobs/j", httpx2.Response(500, text="<html>oops"))
    with pytest.raises(ServerFailed, match="HTTP 500"):
        client.job("j")


def test_an_answer_that_is_no_json_names_the_server(server, client):
    server.on("GET /jobs/j", httpx2.Response(200, text="<html>"))
    with pytest.raises(ServerFailed, match="is it a Hikaku server"):
        client.job("j")


def test_text_goes_up_as_it_is(server, client):
    server.on("POST /jobs", job())
    client.submit(SPEC)
    assert '"りんご"'.encode() in server.bodies[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, "\ud800"])
def test_what_is_no_json_is_refused_before_it_is_sent(server, client, value):
    with pytest.raises(InvalidRequest, match="cannot be sent as JSON"):
        client.submit({"rows": [{"q": value}]})
    assert server.requests == []


def test_a_list_is_read_to_its_last_page(server, client):
    pages = [page([job(id=f"job_{i}")], has_more=i < 2) for i in range(3)]
    server.on("GET /jobs", *pages)
    assert [found.id for found in client.jobs()] == ["job_0", "job_1", "job_2"]
    afters = [query.get("after") for query in server.asked("GET /api/v1/jobs")]
    assert afters == [None, ["job_0"], ["job_1"]]


def test_a_list_that_would_never_end_ends(server, client):
    server.on("GET /jobs", page([job(id="job_0")], has_more=True))
    assert len(list(client.jobs())) == 2


def test_a_comparison_names_jobs_and_baseline(server, client):
    server.on("GET /comparisons", comparison())
    client.compare(["job_a", "job_b"], "job_a:x")
    assert server.asked("GET /api/v1/comparisons") == [
        {"jobs": ["job_a,job_b"], "baseline": ["job_a:x"]}
    ]


def test_the_key_is_sent(server):
    from hikaku_client import Client  # noqa: PLC0415 - the name users import

    server.on("GET /jobs/j", job())
    Client("http://test", "s3cret", httpx2.MockTransport(server)).job("j")
    assert server.requests[0].headers["authorization"] == "Bearer s3cret"
