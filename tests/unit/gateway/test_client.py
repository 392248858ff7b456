import asyncio
from datetime import UTC
from random import Random
from typing import Any

import pytest
from typing_extensions import override

from gateway.client import Gateway
from gateway.errors import (
    EndpointUnavailable,
    InvalidRequest,
    RateLimited,
    Unavailable,
    UnknownEndpoint,
    WrongEndpointType,
)
from gateway.http import Reply, WireRequest
from gateway.types import AttemptReport, ChatRequest, Message
from tests.support.gateway_wire import Script, ScriptedTransport, catalog, chat_reply, reply, sse

CONFIG = """
endpoints:
  - name: chat
    endpoint_type: llm/v1/chat
    model: {provider: vllm, name: m}
    params: {temperature: 0.5, top_p: 0.9}
    retry: {max_attempts: 3, base: 0.01}
    limits: {concurrency: 2}
  - name: text
    endpoint_type: llm/v1/completions
    model: {provider: vllm, name: m}
  - name: vectors
    endpoint_type: llm/v1/embeddings
    model: {provider: vllm, name: m}
  - name: locked
    endpoint_type: llm/v1/chat
    model: {provider: openai, name: m, config: {openai_api_key: $NOT_SET}}
routes:
  - name: split
    task_type: llm/v1/chat
    destinations: [{name: chat, traffic_percentage: 100}, {name: locked, traffic_percentage: 0}]
"""
QUESTION = (Message(role="user", content="りんごは何色ですか？"),)


def ask(endpoint: str = "chat", **params: Any) -> ChatRequest:
    return ChatRequest(endpoint=endpoint, messages=QUESTION, params=params)


class Witness:
    def __init__(self) -> None:
        self.sent: list[int] = []
        self.reports: list[AttemptReport] = []

    def sending(self, number: int) -> None:
        self.sent.append(number)

    def ended(self, attempt: AttemptReport) -> None:
        self.reports.append(attempt)


@pytest.mark.parametrize(("endpoint", "field"), [("chat", "messages"), ("text", "prompt")])
async def test_no_parameter_replaces_the_question(endpoint, field):
    answer = chat_reply("赤") if endpoint == "chat" else reply(200, {"choices": [{"text": "赤"}]})
    asked, transport = gateway(lambda _: answer)
    async with asked:
        await asked.ask(ask(endpoint, **{field: "OVERRIDDEN"}))
    assert QUESTION[0].content in str(transport.bodies[0][field])


class Sleeper:
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def gateway(script: Script, sleeper: Sleeper | None = None) -> tuple[Gateway, ScriptedTransport]:
    transport = ScriptedTransport(script)
    made = Gateway(
        catalog(CONFIG),
        transport,
        sleep=sleeper or Sleeper(),
        random=Random(1),  # noqa: S311
    )
    return made, transport


def in_turn(*replies: Reply) -> Script:
    left = iter(replies)
    return lambda _: next(left)


async def test_a_question_is_asked_with_the_endpoints_defaults_under_the_requests_parameters():
    made, transport = gateway(lambda _: chat_reply("赤"))
    async with made:
        completion = await made.ask(ask(temperature=0, stop=None))
    assert (completion.text, completion.finish_reason, completion.outcome) == ("赤", "stop", "ok")
    assert transport.bodies[0] == {
        "messages": [{"role": "user", "content": QUESTION[0].content}],
        "model": "m",
        "temperature": 0,
        "top_p": 0.9,
    }


async def test_every_attempt_is_reported_and_only_what_may_succeed_is_tried_again():
    sleeper, witness = Sleeper(), Witness()
    script = in_turn(reply(500, {}), reply(429, {}, retry_after="0"), chat_reply("赤"))
    made, _ = gateway(script, sleeper)
    async with made:
        completion = await made.ask(ask(), observer=witness)
    assert completion.text == "赤"
    assert witness.sent == [1, 2, 3]
    assert [r.outcome for r in witness.reports] == ["provider_error", "rate_limited", "ok"]
    assert [r.status for r in witness.reports] == [500, 429, None]
    assert witness.reports[2].usage.output_tokens == 5
    assert all(r.started_at.tzinfo is UTC for r in witness.reports)
    assert len(sleeper.slept) == 2


async def test_a_permanent_failure_is_asked_once():
    witness = Witness()
    made, transport = gateway(lambda _: reply(400, {"error": {"message": "長すぎ"}}))
    async with made:
        with pytest.raises(InvalidRequest, match="長すぎ"):
            await made.ask(ask(), observer=witness)
    assert len(transport.requests) == 1
    assert [r.outcome for r in witness.reports] == ["invalid_request"]


async def test_attempts_end():
    made, transport = gateway(lambda _: reply(429, {}))
    async with made:
        with pytest.raises(RateLimited):
            await made.ask(ask())
    assert len(transport.requests) == 3


async def test_an_observer_may_forbid_the_next_call():
    class Fence(Witness):
        @override
        def sending(self, number: int) -> None:
            super().sending(number)
            if number == 2:
                raise PermissionError("the lease is gone")

    witness = Fence()
    made, transport = gateway(lambda _: reply(500, {}))
    async with made:
        with pytest.raises(PermissionError):
            await made.ask(ask(), observer=witness)
    assert len(transport.requests) == 1
    assert len(witness.reports) == 1


async def test_a_cancelled_call_is_reported_too():
    class Stuck(ScriptedTransport):
        @override
        async def send(self, request: WireRequest) -> Reply:
            await asyncio.sleep(60)
            raise AssertionError(request.url)

    witness = Witness()
    async with Gateway(catalog(CONFIG), Stuck(lambda _: reply())) as made:
        asking = asyncio.ensure_future(made.ask(ask(), observer=witness))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert len(witness.reports) == 1


async def test_no_more_calls_run_at_once_than_the_endpoint_allows():
    running, most = 0, 0

    class Slow(ScriptedTransport):
        @override
        async def send(self, request: WireRequest) -> Reply:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1
            return chat_reply(request.method)

    async with Gateway(catalog(CONFIG), Slow(lambda _: reply())) as made:
        await asyncio.gather(*(made.ask(ask()) for _ in range(10)))
    assert most == 2


async def test_a_completions_endpoint_takes_one_user_message():
    text = {"choices": [{"text": "赤", "finish_reason": "length"}]}
    made, transport = gateway(lambda _: reply(body=text))
    async with made:
        completion = await made.ask(ask("text"))
        assert (completion.text, completion.finish_reason) == ("赤", "length")
        assert transport.bodies[0]["prompt"] == QUESTION[0].content
        two = (Message(role="system", content="短く"), *QUESTION)
        with pytest.raises(InvalidRequest):
            await made.ask(ChatRequest(endpoint="text", messages=two))


async def test_a_refusal_in_the_answer_is_a_completion_that_says_so():
    made, _ = gateway(lambda _: chat_reply(None, refusal="できません"))
    async with made:
        completion = await made.ask(ask())
    assert (completion.outcome, completion.text) == ("refused", "できません")


async def test_names_lead_somewhere_or_are_told():
    made, _ = gateway(lambda _: chat_reply("x"))
    async with made:
        assert (await made.ask(ask("split"))).text == "x"
        with pytest.raises(UnknownEndpoint, match="did you mean `chat`"):
            await made.ask(ask("chatt"))
        with pytest.raises(WrongEndpointType):
            await made.ask(ask("vectors"))
        with pytest.raises(EndpointUnavailable, match="NOT_SET"):
            await made.ask(ask("locked"))


async def test_a_new_catalog_counts_from_the_next_call_and_keeps_limits_that_did_not_change():
    made, _ = gateway(lambda _: chat_reply("x"))
    async with made:
        gate = made._lines["chat"].gate
        made.replace(catalog(CONFIG.replace("temperature: 0.5", "temperature: 0.1")))
        assert made._lines["chat"].gate is gate
        made.replace(catalog(CONFIG.replace("concurrency: 2", "concurrency: 3")))
        assert made._lines["chat"].gate is not gate
        made.replace(catalog(""))
        with pytest.raises(UnknownEndpoint):
            await made.ask(ask())


CHUNK = {"choices": [{"index": 0, "delta": {"content": "赤"}, "finish_reason": "stop"}]}


async def test_a_stream_is_tried_again_only_before_its_first_chunk():
    good = Reply(status=200, headers={}, body=sse(CHUNK))
    made, transport = gateway(in_turn(reply(503, {}), good))
    async with made:
        chunks = [c async for c in made.stream_chat("chat", {"messages": []})]
    assert len(chunks) == 1
    assert len(transport.requests) == 2

    broken = Reply(
        status=200, headers={}, body=sse(CHUNK, {"error": {"message": "m", "code": 503}})
    )
    made, transport = gateway(lambda _: broken)
    async with made:
        with pytest.raises(Unavailable):
            [c async for c in made.stream_chat("chat", {"messages": []})]
    assert len(transport.requests) == 1


async def test_leaving_a_stream_early_closes_it_and_frees_its_place():
    made, transport = gateway(lambda _: Reply(status=200, headers={}, body=sse(CHUNK, CHUNK)))
    async with made:
        for _ in range(5):
            stream = made.stream_chat("chat", {"messages": []})
            await anext(stream)
            assert transport.open_streams == 1
            await stream.aclose()
            assert transport.open_streams == 0


async def test_half_a_character_is_refused_before_it_is_sent():
    made, transport = gateway(lambda _: chat_reply("x"))
    async with made:
        broken = (Message(role="user", content="りんご\ud83d"),)
        with pytest.raises(InvalidRequest, match="character 3"):
            await made.ask(ChatRequest(endpoint="chat", messages=broken))
    assert transport.requests == []


async def test_a_name_of_a_megabyte_is_refused_at_once_and_not_said_back():
    async with Gateway(catalog(CONFIG), ScriptedTransport(lambda _: chat_reply("赤"))) as gateway:
        with pytest.raises(UnknownEndpoint) as caught:
            await gateway.chat("x" * 2**20, {"messages": []})
    assert len(caught.value.message) < 300


def test_everybody_who_may_answer_is_known_with_the_fallbacks():
    fallback = CONFIG.replace(
        "retry: {max_attempts: 3", "fallback: [locked]\n    retry: {max_attempts: 3"
    )
    gateway = Gateway(catalog(fallback), ScriptedTransport(lambda _: chat_reply("赤")))
    assert {e.name for e in gateway.answerers("split")} == {"chat", "locked"}
