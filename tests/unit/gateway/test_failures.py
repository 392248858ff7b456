from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest

from gateway.errors import (
    AccessDenied,
    ContentRefused,
    EndpointUnavailable,
    InvalidRequest,
    MalformedAnswer,
    Outcome,
    PermanentError,
    QuotaExhausted,
    RateLimited,
    TimedOut,
    Unavailable,
)
from gateway.http import Reply, WireRequest, call, failure_of, retry_after
from gateway.http.failures import event_failure
from gateway.http.httpx2_transport import Httpx2Transport


@pytest.mark.parametrize(
    ("status", "kind", "outcome"),
    [
        (302, EndpointUnavailable, "provider_error"),
        (400, InvalidRequest, "invalid_request"),
        (401, AccessDenied, "provider_error"),
        (403, AccessDenied, "provider_error"),
        (404, InvalidRequest, "invalid_request"),
        (408, TimedOut, "timeout"),
        (413, InvalidRequest, "invalid_request"),
        (422, InvalidRequest, "invalid_request"),
        (424, Unavailable, "provider_error"),
        (429, RateLimited, "rate_limited"),
        (500, Unavailable, "provider_error"),
        (503, Unavailable, "provider_error"),
        (504, TimedOut, "timeout"),
        (529, RateLimited, "rate_limited"),
    ],
)
def test_every_status_has_one_meaning(status, kind, outcome):
    error = failure_of(status, {}, b'{"error": {"message": "\xe3\x81\xa0\xe3\x82\x81"}}')
    assert type(error) is kind
    assert error.outcome == outcome
    assert error.message == "だめ"
    assert error.status == status


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "m", "code": "c"}}',
        b'{"error": "m", "error_type": "c"}',
        b'{"error_code": "c", "message": "m"}',
        b'{"detail": "m", "code": "c"}',
    ],
)
def test_messages_and_codes_are_found_in_every_vendors_shape(body):
    error = failure_of(400, {}, body)
    assert (error.message, error.code) == ("m", "c")


def test_an_exhausted_account_is_permanent_though_it_comes_as_429():
    body = b'{"error": {"message": "m", "type": "insufficient_quota", "code": null}}'
    error = failure_of(429, {}, body)
    assert isinstance(error, QuotaExhausted)
    assert isinstance(error, PermanentError)
    assert error.outcome is Outcome.RATE_LIMITED
    assert error.http_status == 402


def test_a_content_filter_is_a_refusal():
    error = failure_of(400, {}, b'{"error": {"message": "m", "code": "content_filter"}}')
    assert isinstance(error, ContentRefused)
    assert error.outcome is Outcome.REFUSED


def test_an_overload_told_inside_a_stream_is_a_rate_limit_whatever_number_it_bears():
    event = b'{"error": {"message": "Model is overloaded", "http_status_code": 422}}'
    assert isinstance(event_failure(event), RateLimited)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read(headers, seconds):
    expected = timedelta(seconds=seconds) if seconds is not None else None
    assert retry_after(headers) == expected


def test_a_date_to_retry_after_is_reckoned_by_the_servers_own_clock():
    date, until = "Sun, 22 Nov 2026 12:00:00 GMT", "Sun, 22 Nov 2026 12:00:07 GMT"
    assert retry_after({"date": date, "retry-after": until}) == timedelta(seconds=7)
    assert retry_after({"date": "no date", "retry-after": "soon"}) is None


def test_retry_after_may_be_a_date():
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90))
    found = retry_after({"retry-after": date})
    assert found is not None
    assert timedelta(seconds=80) < found <= timedelta(seconds=90)


async def asked(handler) -> Reply:
    transport = Httpx2Transport.over(httpx2.MockTransport(handler))
    try:
        return await call(transport, WireRequest(url="http://model/v1"))
    finally:
        await transport.close()


async def test_httpx2s_mock_transport_can_stand_at_the_seam():
    reply = await asked(lambda request: httpx2.Response(200, text=f"{request.method}だ"))
    assert reply.body.decode() == "POSTだ"
    with pytest.raises(RateLimited) as caught:
        await asked(lambda _: httpx2.Response(429, headers={"Retry-After": "3"}))
    assert caught.value.retry_after == timedelta(seconds=3)


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx2.ConnectError("x"), Unavailable),
        (httpx2.ReadError("x"), Unavailable),
        (httpx2.ReadTimeout("x"), TimedOut),
        (httpx2.RemoteProtocolError("x"), MalformedAnswer),
    ],
)
async def test_failures_of_the_connection_are_ours(failure, kind):
    def fail(_: httpx2.Request) -> httpx2.Response:
        raise failure

    with pytest.raises(kind):
        await asked(fail)


def test_a_status_that_http_does_not_have_is_not_passed_on():
    error = failure_of(600, {}, b"{}")
    assert isinstance(error, Unavailable)
    assert error.http_status == 502
