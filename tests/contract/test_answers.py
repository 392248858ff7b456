"""Requests as they arrive at each vendor, and answers and streams as they are read."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from gateway.errors import MalformedAnswer, UnsupportedParameter
from gateway.http import Reply, WireRequest
from gateway.providers import Provider, bind
from tests.support.gateway_wire import ScriptedTransport
from tests.support.vendors import every
from tests.support.vendors.canon import ASKS, FIRST, PNG, TEXT
from tests.support.vendors.contract import (
    Answered,
    BrokenStream,
    Kind,
    Refused,
    Sent,
    Streamed,
    Vendor,
    as_reply,
)
from tests.support.vendors.reading import asked, check, opened, outcome_of, said_by, said_in

VENDORS = every()
WITH_USAGE = {"stream_options": {"include_usage": True}}


def cases(attribute: str) -> list[Any]:
    return [
        pytest.param(vendor, case, id=f"{vendor.name}-{case.kind.name}-{case.name}")
        for vendor in VENDORS
        for case in getattr(vendor, attribute)
    ]


def asks(expected: type) -> list[Any]:
    return [
        pytest.param(vendor, kind, name, id=f"{vendor.name}-{kind.name}-{name}")
        for vendor in VENDORS
        for kind, found in vendor.asks.items()
        for name, what in found.items()
        if isinstance(what, expected)
    ]


def parameters(attribute: str) -> list[Any]:
    return [
        pytest.param(vendor, kind, name, value, id=f"{vendor.name}-{kind.name}-{name}")
        for vendor in VENDORS
        for kind, found in getattr(vendor, attribute).items()
        for name, value in found.items()
    ]


def bound(
    vendor: Vendor, kind: Kind, reply: Reply, cut: int = 1 << 20
) -> tuple[Provider, ScriptedTransport]:
    transport = ScriptedTransport(lambda _: reply, cut=cut)
    return bind(vendor.endpoint(kind), transport), transport


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda v: v.name)
def test_every_vendor_says_what_it_does_with_every_canonical_ask(vendor):
    assert set(vendor.asks) == set(vendor.urls)
    for kind in vendor.urls:
        assert set(vendor.asks[kind]) == set(ASKS[kind])
        assert vendor.plain(kind)


@pytest.mark.parametrize(("vendor", "kind", "name"), asks(Sent))
async def test_an_ask_arrives_exactly_as_the_vendor_documents_it(vendor, kind, name):
    wanted = vendor.asks[kind][name]
    provider, transport = bound(vendor, kind, _reply_to(vendor, kind, ASKS[kind][name]))
    await asked(provider, kind, ASKS[kind][name])
    (request,) = transport.requests
    assert request.method == "POST"
    assert request.url == (wanted.path or vendor.urls[kind])
    assert _without_nulls(msgspec.json.decode(request.body)) == wanted.body
    _check_headers(vendor, request)
    for text in _long_texts(ASKS[kind][name]):
        assert text.encode() in request.body  # As it is, not escaped to ASCII.


@pytest.mark.parametrize(("vendor", "kind", "name"), asks(Refused))
async def test_an_ask_that_the_vendor_cannot_honour_is_refused_by_name(vendor, kind, name):
    provider, transport = bound(vendor, kind, _plain_reply(vendor, kind))
    with pytest.raises(UnsupportedParameter) as caught:
        await asked(provider, kind, ASKS[kind][name])
    assert caught.value.parameter == vendor.asks[kind][name].parameter
    assert transport.requests == []


@pytest.mark.parametrize(("vendor", "kind", "name", "value"), parameters("refused"))
async def test_a_parameter_that_would_be_bent_is_refused_by_name(vendor, kind, name, value):
    provider, transport = bound(vendor, kind, _plain_reply(vendor, kind))
    with pytest.raises(UnsupportedParameter) as caught:
        await asked(provider, kind, {**FIRST[kind], name: value})
    assert caught.value.parameter == name
    if kind in {Kind.CHAT, Kind.COMPLETIONS} and any(s.kind is kind for s in vendor.streams):
        with pytest.raises(UnsupportedParameter):
            [chunk async for chunk in opened(provider, kind, {**FIRST[kind], name: value})]
    assert transport.requests == []


@pytest.mark.parametrize(("vendor", "kind", "name", "value"), parameters("honoured"))
async def test_a_parameter_arrives_with_the_meaning_it_was_given(vendor, kind, name, value):
    given, wanted = value
    provider, transport = bound(vendor, kind, _plain_reply(vendor, kind))
    await asked(provider, kind, {**FIRST[kind], name: given})
    sent = msgspec.json.decode(transport.requests[0].body)
    assert _holds(sent, wanted), sent


@pytest.mark.parametrize(("vendor", "case"), cases("answers"))
async def test_an_answer_is_read_whole(vendor: Vendor, case: Answered):
    provider, transport = bound(vendor, case.kind, as_reply(200, case.body, case.headers))
    answer = await asked(provider, case.kind, case.ask or FIRST[case.kind])
    check(said_by(answer, case.kind, case.said), case.said)
    if case.kind in {Kind.CHAT, Kind.COMPLETIONS}:
        assert answer.outcome is outcome_of(case.said)
    assert len(transport.requests) == 1


@pytest.mark.parametrize(("vendor", "case"), cases("streams"))
async def test_a_stream_reads_the_same_wherever_it_is_cut(vendor: Vendor, case: Streamed):
    whole = await _streamed(vendor, case, 1 << 20)
    check(said_in(whole, case.kind, case.said), case.said)
    cuts = range(1, len(case.body)) if vendor.thorough else (1, 2, 3, 7)
    for cut in cuts:
        chunks = await _streamed(vendor, case, cut)
        check(said_in(chunks, case.kind, case.said), case.said)
        assert len(chunks) == len(whole)


@pytest.mark.parametrize(("vendor", "case"), cases("streams"))
async def test_a_stream_that_is_cut_off_anywhere_is_an_error_or_the_whole(
    vendor: Vendor, case: Streamed
):
    """However much arrived: what ends without an error has said everything."""
    steps = range(0, len(case.body), 1 if vendor.thorough else 17)
    for length in steps:
        short = Streamed(
            name=case.name, body=case.body[:length], said=case.said, kind=case.kind, ask=case.ask
        )
        try:
            chunks = await _streamed(vendor, short, 1 << 20)
        except MalformedAnswer:
            continue
        found = said_in(chunks, case.kind, case.said)
        assert (found.text, found.finish_reason) == (case.said.text, case.said.finish_reason)
        assert tuple(found.calls) == tuple(case.said.calls)


@pytest.mark.parametrize(("vendor", "case"), cases("broken_streams"))
async def test_a_broken_stream_is_an_error(vendor: Vendor, case: BrokenStream):
    for cut in (1, 1 << 20):
        provider, transport = bound(vendor, case.kind, as_reply(200, case.body), cut)
        with pytest.raises(case.error):
            [chunk async for chunk in opened(provider, case.kind, FIRST[case.kind])]
        assert transport.open_streams == 0


@pytest.mark.parametrize(("vendor", "case"), cases("streams"))
async def test_leaving_a_stream_early_closes_it(vendor: Vendor, case: Streamed):
    provider, transport = bound(vendor, case.kind, as_reply(200, case.body), 5)
    stream = opened(provider, case.kind, {**(case.ask or FIRST[case.kind])})
    await anext(stream)
    assert transport.open_streams == 1
    await stream.aclose()
    assert transport.open_streams == 0


async def _streamed(vendor: Vendor, case: Streamed, cut: int) -> list[bytes]:
    provider, transport = bound(vendor, case.kind, as_reply(200, case.body), cut)
    extra = {} if case.kind in {Kind.RESPONSES, Kind.MESSAGES} else WITH_USAGE
    body = {**(case.ask or FIRST[case.kind]), **extra}
    try:
        return [chunk async for chunk in opened(provider, case.kind, body)]
    finally:
        assert transport.open_streams == 0
        (request,) = transport.requests
        assert request.url == vendor.stream_urls.get(case.kind, vendor.urls[case.kind])
        _check_headers(vendor, request)


def _plain_reply(vendor: Vendor, kind: Kind) -> Reply:
    plain = vendor.plain(kind)
    return as_reply(200, plain.body, plain.headers)


def _reply_to(vendor: Vendor, kind: Kind, ask: Mapping[str, Any]) -> Reply:
    """An answer made for this ask, where the plain one does not fit it."""
    made = (a for a in vendor.answers if a.kind is kind and a.ask == ask)
    answer = next(made, vendor.plain(kind))
    return as_reply(200, answer.body, answer.headers)


def _check_headers(vendor: Vendor, request: WireRequest) -> None:
    sent = {name.lower(): value for name, value in request.headers.items()}
    assert sent["content-type"].startswith("application/json")
    for name, wanted in vendor.headers.items():
        if callable(wanted):
            assert wanted(sent[name]), (name, sent[name])
        else:
            assert sent[name] == wanted
    for name, value in sent.items():
        if name not in vendor.headers:
            assert not any(secret in value for secret in vendor.secrets), name


def _without_nulls(body: dict[str, Any]) -> dict[str, Any]:
    """A null at the top means "not given", which some SDKs say aloud."""
    return {key: value for key, value in body.items() if value is not None}


def _long_texts(ask: object) -> Iterator[str]:
    """Texts of an ask that have to arrive as they are."""
    if isinstance(ask, str):
        if not ask.isascii() and ask != PNG and "\u2028" not in ask:
            yield ask
        elif ask == TEXT:
            yield TEXT.partition("\u2028")[0]
    elif isinstance(ask, dict):
        for key, value in ask.items():
            if key != "arguments":  # JSON inside JSON: some vendors take it as an object.
                yield from _long_texts(value)
    elif isinstance(ask, list):
        for item in ask:
            yield from _long_texts(item)


def _holds(found: object, wanted: object) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return all(key in found and _holds(found[key], value) for key, value in wanted.items())
    return found == wanted
