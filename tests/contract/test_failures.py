"""What each vendor's failures mean, by status, by its own words, and on a real socket."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from typing_extensions import override

from gateway.config import Endpoint, Timeouts
from gateway.errors import (
    AccessDenied,
    ContentRefused,
    GatewayError,
    InvalidRequest,
    MalformedAnswer,
    PermanentError,
    QuotaExhausted,
    RateLimited,
    RetryableError,
    TimedOut,
    Unavailable,
)
from gateway.http import DirectTransport, Reply, ReplyStream, WireRequest
from gateway.providers import bind
from tests.support.gateway_wire import ScriptedTransport
from tests.support.vendors import every
from tests.support.vendors.canon import FIRST
from tests.support.vendors.contract import Failure, Kind, Vendor, as_reply, openai_error
from tests.support.vendors.reading import asked, opened

VENDORS = every()
WIRES = [vendor for vendor in VENDORS if vendor.thorough]
"""One vendor per wire: what a socket does is the same for all that share one."""

FAILURES: dict[str, tuple[int, type[GatewayError]]] = {
    "invalid": (400, InvalidRequest),
    "wrong_key": (401, AccessDenied),
    "unpaid": (402, QuotaExhausted),
    "forbidden": (403, AccessDenied),
    "not_found": (404, InvalidRequest),
    "request_timeout": (408, TimedOut),
    "too_large": (413, InvalidRequest),
    "unprocessable": (422, InvalidRequest),
    "rate": (429, RateLimited),
    "internal": (500, Unavailable),
    "bad_gateway": (502, Unavailable),
    "unavailable": (503, Unavailable),
    "gateway_timeout": (504, TimedOut),
    "overloaded": (529, RateLimited),
}
"""Case -> status and meaning, the same for every vendor unless its row says otherwise."""

CODES: dict[str, tuple[int, type[GatewayError]]] = {
    "insufficient_quota": (429, QuotaExhausted),
    "billing_hard_limit_reached": (400, QuotaExhausted),
    "content_filter": (400, ContentRefused),
    "content_policy_violation": (400, ContentRefused),
    "context_length_exceeded": (400, InvalidRequest),
}
"""OpenAI's codes, whose meaning is not the status's; its followers have them too."""

MALFORMED = (
    b"",
    b"<html>",
    b"[]",
    b"{}",
    b"null",
    b"12",
    b"\xff\xfe",
    b'{"choices": [{"message": {"content": "\xe3\x82',
)
"""200s that are no answer of anybody."""


def by_vendor(cases: Iterable[Any], vendors: Sequence[Vendor] = VENDORS) -> list[Any]:
    return [
        pytest.param(vendor, case, id=f"{vendor.name}-{case}")
        for case in cases
        for vendor in vendors
    ]


def own() -> list[Any]:
    return [
        pytest.param(vendor, failure, id=f"{vendor.name}-{failure.name}")
        for vendor in VENDORS
        for failure in vendor.failures
    ]


def always(reply: Reply | GatewayError) -> ScriptedTransport:
    return ScriptedTransport(lambda _: reply)


def streaming_kind(vendor: Vendor) -> Kind | None:
    return next((s.kind for s in vendor.streams), None)


async def failed(vendor: Vendor, reply: Reply | GatewayError) -> list[GatewayError]:
    """The failure of every capability, and of a stream, met with `reply`."""
    found = []
    for kind in vendor.urls:
        provider = bind(vendor.endpoint(kind), always(reply))
        with pytest.raises(GatewayError) as caught:
            await asked(provider, kind, FIRST[kind])
        found.append(caught.value)
    if (spoken := streaming_kind(vendor)) is not None:
        transport = always(reply)
        provider = bind(vendor.endpoint(spoken), transport)
        with pytest.raises(GatewayError) as caught:
            [chunk async for chunk in opened(provider, spoken, FIRST[spoken])]
        assert transport.open_streams == 0
        found.append(caught.value)
    return found


@pytest.mark.parametrize(("vendor", "case"), by_vendor(FAILURES))
async def test_a_status_has_its_one_meaning(vendor: Vendor, case: str):
    status, kind = FAILURES[case]
    body = vendor.error(status, "だめです", case)
    for error in await failed(vendor, as_reply(status, body, {"Retry-After": "7"})):
        assert type(error) is vendor.exceptions.get(case, kind), repr(error)
        assert error.status == status
        assert "だめです" in error.message
        assert error.retry_after is not None
        assert error.retry_after.total_seconds() == 7


OPENAIS = [vendor for vendor in VENDORS if vendor.error is openai_error]


@pytest.mark.parametrize(("vendor", "code"), by_vendor(CODES, OPENAIS))
async def test_a_code_of_openais_says_more_than_the_status(vendor: Vendor, code: str):
    status, kind = CODES[code]
    body = {"error": {"message": "だめです", "type": "invalid_request_error", "code": code}}
    for error in await failed(vendor, as_reply(status, body)):
        assert type(error) is kind, repr(error)
        assert (error.code, error.status) == (code, status)


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda v: v.name)
async def test_what_fails_on_the_way_keeps_its_meaning(vendor: Vendor):
    """No connection in time, nobody there, cut off: no adaptor calls it something else."""
    for kind in (TimedOut, Unavailable, MalformedAnswer):
        for error in await failed(vendor, kind("no connection within 2 s")):
            assert type(error) is kind
            assert isinstance(error, RetryableError)


@pytest.mark.parametrize(("vendor", "failure"), own())
async def test_a_failure_in_the_vendors_own_words_is_understood(vendor: Vendor, failure: Failure):
    for error in await failed(vendor, as_reply(failure.status, failure.body, failure.headers)):
        assert type(error) is failure.error, repr(error)
        if failure.retry_after is not None:
            assert error.retry_after is not None
            assert error.retry_after.total_seconds() == pytest.approx(failure.retry_after)


@pytest.mark.parametrize(("vendor", "status"), by_vendor((401, 429, 500)))
async def test_an_error_page_instead_of_json_keeps_its_meaning(vendor: Vendor, status: int):
    kinds = {401: AccessDenied, 429: RateLimited, 500: Unavailable}
    for error in await failed(vendor, as_reply(status, b"<html>nginx</html>")):
        assert type(error) is kinds[status]


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda v: v.name)
async def test_a_200_that_is_no_answer_is_malformed(vendor: Vendor):
    for body in MALFORMED:
        for error in await failed(vendor, as_reply(200, body)):
            assert type(error) is MalformedAnswer, body
    for body in vendor.malformed:
        provider = bind(vendor.endpoint(Kind.CHAT), always(as_reply(200, body)))
        with pytest.raises(MalformedAnswer):
            await asked(provider, Kind.CHAT, FIRST[Kind.CHAT])


@pytest.mark.parametrize("vendor", [v for v in VENDORS if v.secrets], ids=lambda v: v.name)
async def test_a_key_never_shows_in_errors_or_representations(vendor: Vendor):
    """Vendors repeat the key they refuse, some of them in full."""
    spilled = " ".join(vendor.secrets)
    for status in (400, 401, 403, 429, 500):
        for body in (vendor.error(status, f"bad key: {spilled}", "wrong_key"), spilled.encode()):
            for error in await failed(vendor, as_reply(status, body)):
                _has_no_secret(vendor, str(error), repr(error), error.message, error.code or "")
    for error in await failed(vendor, Unavailable(f"cannot reach http://x/?key={spilled}")):
        _has_no_secret(vendor, str(error), repr(error), error.message)
    for kind in vendor.urls:
        endpoint = vendor.endpoint(kind)
        transport = always(as_reply(200, vendor.plain(kind).body, vendor.plain(kind).headers))
        provider = bind(endpoint, transport)
        await asked(provider, kind, FIRST[kind])
        shown = (repr(endpoint), str(endpoint.settings), str(endpoint.options), repr(provider))
        _has_no_secret(vendor, *shown, *(repr(request) for request in transport.requests))


def _has_no_secret(vendor: Vendor, *texts: str) -> None:
    for text in texts:
        assert not any(secret in text for secret in vendor.secrets), text


# On a socket: what only a network can do.


class Redirected(DirectTransport):
    """The real transport, led to a server of ours."""

    def __init__(self, origin: str) -> None:
        super().__init__()
        self._origin = origin

    @override
    async def send(self, request: WireRequest) -> Reply:
        return await super().send(self._led(request))

    @override
    @asynccontextmanager
    async def stream(self, request: WireRequest) -> AsyncIterator[ReplyStream]:
        async with super().stream(self._led(request)) as reply:
            yield reply

    def _led(self, request: WireRequest) -> WireRequest:
        parts = urlsplit(request.url)
        url = self._origin + parts.path + (f"?{parts.query}" if parts.query else "")
        return replace(request, url=url)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
FAULTS: dict[str, tuple[type[GatewayError], ...]] = {
    "closed before a word": (Unavailable,),
    "reset": (Unavailable,),
    "no HTTP": (Unavailable, MalformedAnswer),
    "cut inside the body": (MalformedAnswer, Unavailable),
    "silent": (TimedOut,),
    "silent inside the body": (TimedOut,),
}
SILENT = {"silent", "silent inside the body"}


@asynccontextmanager
async def faulty(fault: str, body: bytes, content_type: bytes) -> AsyncIterator[str]:
    """A server that reads one request and then does as `fault` says."""

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _read(reader)
            await _suffer(fault, writer, body, content_type)
            if fault in SILENT:
                with suppress(ConnectionError):
                    await reader.read()  # Until whoever asked has gone.
        finally:
            writer.close()

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()


async def _read(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
    await reader.readexactly(int(length or 0))


async def _suffer(
    fault: str, writer: asyncio.StreamWriter, body: bytes, content_type: bytes
) -> None:
    head = HEAD % content_type + b"Content-Length: %d\r\n\r\n" % len(body)
    half = head + body[: len(body) // 2]
    match fault:
        case "reset":
            writer.transport.abort()
        case "no HTTP":
            writer.write(b"\x00\x01 what?\r\n\r\n")
        case "cut inside the body":
            writer.write(half)
        case "silent inside the body":
            writer.write(half)
            await writer.drain()
        case _:
            pass


def patient(vendor: Vendor, kind: Kind, fault: str) -> Endpoint:
    """The vendor's endpoint; only of a silent server it can be said that it took too long."""
    seconds = 0.2 if fault in SILENT else 60
    limits = Timeouts(connect=60, idle=seconds, total=seconds)
    return replace(vendor.endpoint(kind), timeouts=limits)


@pytest.mark.parametrize(("vendor", "fault"), by_vendor(FAULTS, WIRES))
async def test_a_broken_line_is_retryable_and_told_for_what_it_is(vendor: Vendor, fault: str):
    kind = next(iter(vendor.urls))
    plain = as_reply(200, vendor.plain(kind).body)
    async with faulty(fault, plain.body, b"application/json") as origin:
        transport = Redirected(origin)
        try:
            provider = bind(patient(vendor, kind, fault), transport)
            with pytest.raises(RetryableError) as caught:
                await asked(provider, kind, FIRST[kind])
        finally:
            await transport.close()
    assert isinstance(caught.value, FAULTS[fault]), repr(caught.value)
    assert not isinstance(caught.value, PermanentError)


@pytest.mark.parametrize("vendor", [v for v in WIRES if v.streams], ids=lambda v: v.name)
@pytest.mark.parametrize("fault", ["cut inside the body", "silent inside the body"])
async def test_a_stream_whose_line_breaks_is_no_answer(vendor: Vendor, fault: str):
    stream = vendor.streams[0]
    async with faulty(fault, stream.body, b"text/event-stream") as origin:
        transport = Redirected(origin)
        try:
            provider = bind(patient(vendor, stream.kind, fault), transport)
            with pytest.raises(RetryableError) as caught:
                [c async for c in opened(provider, stream.kind, FIRST[stream.kind])]
        finally:
            await transport.close()
    assert isinstance(caught.value, FAULTS[fault]), repr(caught.value)
