"""What is noted of requests that are passed through, and what their bodies tell of tokens."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from gateway.client import Gateway
from gateway.errors import Unavailable
from gateway.http import Reply, ReplyStream, WireRequest
from gateway.surfaces.exchange import Door
from gateway.surfaces.gauge import MOST_KEPT, Gauge
from gateway.surfaces.passthrough import PassthroughSurface
from gateway.types import Usage
from gateway.usage import Recorder, UsageRecord
from tests.support.gateway_wire import ScriptedTransport, catalog, sse
from tests.unit.gateway.test_course import Kept

PRICE = "price: {input_usd_per_million_tokens: 1, output_usd_per_million_tokens: 2}"
CONFIG = f"""endpoints:
  - name: chat
    endpoint_type: llm/v1/chat
    passthrough: true
    {PRICE}
    model: {{provider: openai, name: gpt, config: {{openai_api_key: sk-1}}}}
  - name: gemini
    endpoint_type: llm/v1/chat
    passthrough: true
    {PRICE}
    model: {{provider: gemini, name: flash, config: {{gemini_api_key: AIza-1}}}}
  - name: tgi
    endpoint_type: llm/v1/completions
    passthrough: true
    {PRICE}
    model: {{provider: tgi, name: qwen, config: {{tgi_hf_server_url: "http://tgi:1"}}}}
"""
OPENAI = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
SEVEN_NINE = Usage(input_tokens=7, output_tokens=9)


class Client:
    """Calls one path, as an ASGI server would, and may leave in between."""

    def __init__(self, gateway: Gateway, name: str, path: str, body: object) -> None:
        self.sent: list[dict[str, Any]] = []
        self.body = json.dumps(body, ensure_ascii=False).encode()
        self.gateway = gateway
        self.scope: dict[str, Any] = {
            "type": "http", "method": "POST", "query_string": b"", "headers": [], "path": "/",
            "path_params": {"name": name, "path": path},
            "state": {"caller": "key-1", "request_id": "r-1"},
        }  # fmt: skip
        self.asked = False

    async def call(self, method: str = "POST") -> int:
        self.scope["method"] = method
        (one, *_) = PassthroughSurface(self.gateway).routes()
        assert isinstance(one.app, Door)
        await one.app(self.scope, self._receive, self._send)
        status: int = self.sent[0]["status"]
        return status

    @property
    def got(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    async def _receive(self) -> dict[str, Any]:
        if not self.asked:
            self.asked = True
            return {"type": "http.request", "body": self.body}
        await self.gone()
        return {"type": "http.disconnect"}

    async def gone(self) -> None:
        await asyncio.Event().wait()

    async def _send(self, message: Any) -> None:
        self.sent.append(dict(message))


def answer(body: object, kind: str = "application/json", status: int = 200) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return Reply(status=status, headers={"content-type": kind, "x-request-id": "theirs"}, body=raw)


async def noted(
    reply: Reply | Exception,
    *,
    name: str = "chat",
    path: str = "chat/completions",
    body: object = None,
    method: str = "POST",
) -> tuple[UsageRecord, Client]:
    kept, transport = Kept(), ScriptedTransport(lambda _: reply, cut=5)  # type: ignore[arg-type, return-value]
    async with Gateway(catalog(CONFIG), transport, recorder=Recorder(kept)) as gateway:
        client = Client(gateway, name, path, {"model": "gpt"} if body is None else body)
        await client.call(method)
    assert transport.open_streams == 0
    (record,) = kept.records
    return record, client


async def test_a_call_is_noted_with_key_counts_and_cost():
    record, client = await noted(answer({"text": "赤", "usage": OPENAI}))
    assert (record.caller, record.request_id, record.asked) == ("key-1", "r-1", "chat")
    assert (record.endpoint, record.attempts, record.outcome) == ("chat", 1, "ok")
    assert (record.input_tokens, record.output_tokens, record.streamed) == (7, 9, False)
    assert record.cost_usd == Decimal("0.000025")
    assert record.seconds >= record.provider_seconds > 0
    assert record.first_byte_seconds is not None
    headers = [name for name, _ in client.sent[0]["headers"]]
    assert headers.count(b"x-request-id") == 1  # Theirs: by it their support finds the call.
    assert b"x-hikaku-endpoint" in headers


async def test_what_the_vendor_does_not_tell_is_not_known():
    record, _ = await noted(answer({"data": [{"url": "https://x"}]}))
    assert (record.input_tokens, record.output_tokens, record.cost_usd) == (None, None, None)
    record, _ = await noted(answer(b"\x00\xff" * 9, "audio/mpeg"))
    assert (record.input_tokens, record.outcome) == (None, "ok")


async def test_another_model_than_the_endpoints_own_has_no_known_price():
    for body in ({"model": "dearer"}, {}, [1], "x"):
        record, _ = await noted(answer({"usage": OPENAI}), body=body)
        assert (record.input_tokens, record.cost_usd) == (7, None)
    google = {"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 9}}
    costs = [
        (await noted(answer(google), name="gemini", path=f"models/{model}:generateContent"))[0]
        for model in ("flash", "pro")
    ]
    assert [r.cost_usd for r in costs] == [Decimal("0.000025"), None]
    tgi = {"generated_text": "赤", "details": {"generated_tokens": 9, "prefill": [{}] * 7}}
    record, _ = await noted(answer(tgi), name="tgi", path="generate", body={"inputs": "x"})
    assert record.cost_usd == Decimal("0.000025")


async def test_what_is_only_looked_at_is_not_counted_again():
    record, _ = await noted(answer({"usage": OPENAI}), path="responses/r-1", method="GET")
    assert (record.outcome, record.input_tokens) == ("ok", None)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(400, "invalid_request"), (429, "rate_limited"), (500, "provider_error")],
)
async def test_a_failure_is_noted_with_its_status_and_passed_on(status, outcome):
    body = {"error": {"message": "だめ"}}
    record, client = await noted(answer(body, status=status))
    assert (record.outcome, record.status, record.cost_usd) == (outcome, status, None)
    assert (client.sent[0]["status"], json.loads(client.got)) == (status, body)


async def test_a_vendor_that_is_not_there_is_noted():
    record, client = await noted(Unavailable("ConnectionRefusedError"))
    assert (record.outcome, record.status, record.attempts) == ("provider_error", None, 1)
    assert client.sent[0]["status"] == 502


class Slow(ScriptedTransport):
    """Gives the next piece only when the one before has reached the client."""

    def __init__(self, pieces: list[bytes], client: Callable[[], Client]) -> None:
        super().__init__(lambda _: Reply(status=200, headers={}, body=b""))
        self.pieces = pieces
        self.client = client

    @override
    @asynccontextmanager
    async def stream(self, request: WireRequest) -> AsyncIterator[ReplyStream]:
        headers: Mapping[str, str] = {"content-type": "text/event-stream; charset=utf-8"}
        yield ReplyStream(status=200, headers=headers, chunks=self._pieces())

    async def _pieces(self) -> AsyncIterator[bytes]:
        for number, piece in enumerate(self.pieces):
            assert self.client().got == b"".join(self.pieces[:number])
            yield piece


async def test_a_stream_is_counted_as_it_passes_and_never_held_up():
    whole = sse({"choices": [{"delta": {"content": "赤"}}]}, {"choices": [], "usage": OPENAI})
    clients: list[Client] = []
    kept, pieces = Kept(), [whole[i : i + 7] for i in range(0, len(whole), 7)]
    transport = Slow(pieces, lambda: clients[0])
    async with Gateway(catalog(CONFIG), transport, recorder=Recorder(kept)) as gateway:
        clients.append(Client(gateway, "chat", "chat/completions", {"model": "gpt"}))
        await clients[0].call()
    assert clients[0].got == whole
    (record,) = kept.records
    assert (record.streamed, record.input_tokens, record.output_tokens) == (True, 7, 9)
    assert record.cost_usd == Decimal("0.000025")


async def test_a_caller_who_leaves_is_noted_as_one_who_gave_up():
    class Hasty(Client):
        @override
        async def gone(self) -> None:
            while not self.got:  # noqa: ASYNC110 - until something has come
                await asyncio.sleep(0)

    class Endless(Slow):
        @override
        async def _pieces(self) -> AsyncIterator[bytes]:
            yield b"data: {}\n\n"
            await asyncio.Event().wait()

    clients: list[Client] = []
    kept, transport = Kept(), Endless([], lambda: clients[0])
    async with Gateway(catalog(CONFIG), transport, recorder=Recorder(kept)) as gateway:
        clients.append(Hasty(gateway, "chat", "chat/completions", {}))
        await clients[0].call()
    (record,) = kept.records
    assert (record.outcome, record.attempts, record.input_tokens) == (None, 1, None)


BODIES: dict[str, tuple[object, Usage]] = {
    "openai": ({"usage": OPENAI}, SEVEN_NINE),
    "responses and anthropic": ({"usage": {"input_tokens": 7, "output_tokens": 9}}, SEVEN_NINE),
    "google": (
        {"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 9}}, SEVEN_NINE,
    ),
    "google's stream as a list": (
        [
            {"usageMetadata": {"promptTokenCount": 7}},
            {"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 9}},
        ],
        SEVEN_NINE,
    ),
    "cohere": (
        {"message": {}, "usage": {"tokens": {"input_tokens": 7.0, "output_tokens": 9.0}}},
        SEVEN_NINE,
    ),
    "cohere's embeddings": (
        {"embeddings": {}, "meta": {"billed_units": {"input_tokens": 7}}}, Usage(input_tokens=7),
    ),
    "tgi without what it read": (
        {"generated_text": "", "details": {"generated_tokens": 9}}, Usage(output_tokens=9),
    ),
    "sound, by the second": ({"text": "", "usage": {"type": "duration", "seconds": 3}}, Usage()),
    "not of this call": ({"data": [{"usage": OPENAI}]}, Usage()),
    "nonsense": ({"usage": {"prompt_tokens": "many", "completion_tokens": []}}, Usage()),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "filler"),
    [
        (n, f)
        for n, (b, _) in BODIES.items()
        for f in (0, MOST_KEPT)
        if not f or isinstance(b, dict)
    ],
)
def test_counts_are_found_in_every_vendors_body_however_long(name, filler):
    body, usage = BODIES[name]
    if isinstance(body, dict):
        body = {"before": '"usage": {"prompt_tokens": 1}' + "あ" * filler, **body}
    raw = json.dumps(body, ensure_ascii=False, indent=1).encode() + b"\n"
    gauge = Gauge("application/json; charset=utf-8")
    for start in range(0, len(raw), 65_536):
        gauge.feed(raw[start : start + 65_536])
    assert gauge.usage() == usage
    assert len(gauge.body) <= MOST_KEPT


STREAMS: dict[str, bytes] = {
    "anthropic": sse(
        {"type": "message_start", "message": {"usage": {"input_tokens": 7, "output_tokens": 1}}},
        {"type": "message_delta", "usage": {"output_tokens": 9}},
        done=False,
    ),
    "responses": sse({"type": "response.completed", "response": {"usage": OPENAI}}, done=False),
    "google": sse(
        {"usageMetadata": {"promptTokenCount": 7}},
        {"usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 9}},
        done=False,
    ),
    "cohere": sse(
        {
            "type": "message-end",
            "delta": {"usage": {"tokens": {"input_tokens": 7, "output_tokens": 9}}},
        },
        done=False,
    ),
    "without the last empty line": sse({"usage": OPENAI}, done=False).rstrip(),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_counts_are_found_in_every_vendors_stream(name):
    gauge = Gauge("text/event-stream")
    for at in range(0, len(STREAMS[name]), 3):
        gauge.feed(STREAMS[name][at : at + 3])
    assert gauge.usage() == SEVEN_NINE


@given(st.binary(max_size=300), st.sampled_from(["application/json", "text/event-stream", ""]))
def test_no_body_stops_the_gauge(raw, kind):
    for body in (raw, b'data: {"usage":' + raw + b"\n\n", b'{"x_tokens":' + b"[" * 5000):
        gauge = Gauge(kind)
        gauge.feed(body)
        gauge.usage()
