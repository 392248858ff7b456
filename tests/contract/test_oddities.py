"""What no vendor documents and no caller means: every oddity ends as one of the gateway's errors.

An exception of another kind would be a fault of ours: an answer 500, and a job's cell without a
reason. The values are put into every place of every canonical ask, answer, error and event.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from gateway.errors import GatewayError
from gateway.http import Reply
from gateway.providers import bind
from tests.support.gateway_wire import ScriptedTransport
from tests.support.vendors import every
from tests.support.vendors.canon import ASKS, FIRST
from tests.support.vendors.contract import Kind, Vendor, as_reply
from tests.support.vendors.reading import asked, opened

VENDORS = every()
ODD: Sequence[Any] = (None, 5, -1.5, True, "x", 10**400, [], [1], [None], {}, {"a": 1})
NAMES = (
    "messages", "prompt", "input", "temperature", "top_p", "max_tokens", "stop", "n", "tools",
    "tool_choice", "response_format", "stream_options", "user", "reasoning_effort",
    "parallel_tool_calls", "encoding_format", "anthropic_beta", "reasoning", "input_type",
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a value; of a list, its first element stands for the others."""
    yield at
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*at, key))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*at, 0))


def put(value: Any, at: tuple[Any, ...], odd: Any) -> Any:
    """The value with something else at one place."""
    if not at:
        return odd
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[at[0]] = put(value[at[0]], at[1:], odd)
    return copied


def oddly(value: Any) -> Iterator[Any]:
    plain = msgspec.json.decode(msgspec.json.encode(value))
    for at in places(plain):
        for odd in ODD:
            yield put(plain, at, odd)


async def ask(vendor: Vendor, kind: Kind, body: Mapping[str, Any], reply: Reply) -> None:
    """Only what the gateway raises on purpose may be raised."""
    provider = bind(vendor.endpoint(kind), ScriptedTransport(lambda _: reply))
    with suppress(GatewayError):
        await asked(provider, kind, body)


async def stream(vendor: Vendor, kind: Kind, body: Mapping[str, Any], raw: bytes) -> None:
    provider = bind(vendor.endpoint(kind), ScriptedTransport(lambda _: as_reply(200, raw)))
    with suppress(GatewayError):
        [chunk async for chunk in opened(provider, kind, body)]


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda v: v.name)
async def test_an_odd_request_is_sent_or_refused(vendor: Vendor):
    for kind in vendor.urls:
        plain = vendor.plain(kind)
        reply = as_reply(200, plain.body, plain.headers)
        bodies = [{**FIRST[kind], name: odd} for name in NAMES for odd in ODD]
        bodies += [b for known in ASKS[kind].values() for b in oddly(known) if isinstance(b, dict)]
        for body in bodies if vendor.thorough else bodies[:: len(VENDORS) // 4]:
            await ask(vendor, kind, body, reply)


@pytest.mark.parametrize("vendor", VENDORS, ids=lambda v: v.name)
async def test_an_odd_answer_or_error_is_one_of_ours(vendor: Vendor):
    for answer in vendor.answers:
        if isinstance(answer.body, bytes):
            continue
        for body in oddly(answer.body):
            reply = as_reply(200, body, answer.headers)
            await ask(vendor, answer.kind, answer.ask or FIRST[answer.kind], reply)
    kind = next(iter(vendor.urls))
    for status in (400, 429, 500):
        for body in oddly(vendor.error(status, "だめ", "x")):
            await ask(vendor, kind, FIRST[kind], as_reply(status, body))


@pytest.mark.parametrize(
    "vendor", [v for v in VENDORS if v.thorough and v.streams], ids=lambda v: v.name
)
async def test_an_odd_event_is_one_of_ours(vendor: Vendor):
    for case in vendor.streams:
        found = list(odd_streams(case.body))
        # A client of its own for each: TGI's streams take a hundred times as long as others.
        for raw in found[:: max(len(found) // 100, 1)] if vendor.name == "tgi" else found:
            await stream(vendor, case.kind, case.ask or FIRST[case.kind], raw)


def odd_streams(body: bytes) -> Iterator[bytes]:
    """A stream with one odd event."""
    lines = body.split(b"\n")
    for number, line in enumerate(lines):
        if line.startswith(b"data: {"):
            for event in oddly(msgspec.json.decode(line[6:])):
                odd = b"data: " + msgspec.json.encode(event)
                yield b"\n".join([*lines[:number], odd, *lines[number + 1 :]])
