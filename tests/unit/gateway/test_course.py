"""Retries, fallbacks, breakers, limits, budget, cache and records, as one question meets them."""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random
from typing import Any

import msgspec
import pytest
from typing_extensions import override

from gateway.budgets import LocalBudgets
from gateway.client import Gateway
from gateway.errors import (
    BudgetExhausted,
    CircuitOpen,
    ContentRefused,
    InvalidRequest,
    NoTurn,
    QuotaExhausted,
    RateLimited,
    TimedOut,
    Unavailable,
)
from gateway.http import Reply, WireRequest
from gateway.pools import Pool
from gateway.tickets import Ticket
from gateway.types import AttemptReport, ChatRequest, Message
from gateway.usage import Recorder, Sink, UsageRecord
from tests.support.gateway_wire import Script, ScriptedTransport, catalog, chat_reply, reply, sse

CHUNK = {"choices": [{"index": 0, "delta": {"content": "赤"}, "finish_reason": "stop"}]}
COUNTS = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}}
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}], "temperature": 0}


def entry(name: str, more: str = "", provider: str = "vllm") -> str:
    return (
        f"  - name: {name}\n    endpoint_type: llm/v1/chat\n"
        f"    model: {{provider: {provider}, name: {name}-model}}\n"
        + "".join(f"    {line}\n" for line in more.splitlines())
    )


def config(*entries: str) -> str:
    return "endpoints:\n" + "".join(entries)


class Sleeper:
    def __init__(self) -> None:
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Witness:
    def __init__(self) -> None:
        self.reports: list[AttemptReport] = []

    def sending(self, number: int) -> None:
        pass

    def ended(self, attempt: AttemptReport) -> None:
        self.reports.append(attempt)


class Kept(Sink):
    def __init__(self) -> None:
        self.records: list[UsageRecord] = []

    @override
    async def write(self, records: Sequence[UsageRecord]) -> None:
        self.records.extend(records)


def by_model(**scripts: Callable[[], Any]) -> Script:
    return lambda request: scripts[msgspec.json.decode(request.body)["model"]]()


def made(text: str, script: Script, **options: Any) -> tuple[Gateway, ScriptedTransport]:
    transport = ScriptedTransport(script)
    options.setdefault("sleep", Sleeper())
    return Gateway(catalog(text), transport, random=Random(1), **options), transport  # noqa: S311


def in_turn(*replies: Reply) -> Script:
    left = iter(replies)
    return lambda _: next(left)


RETRY = "retry: {max_attempts: 2, base: 0.01}\n"
CHAIN = config(
    entry("first", RETRY + "fallback: [second, {endpoint: third, when: [invalid_request]}]"),
    entry("second", "retry: {max_attempts: 1}\nparams: {top_p: 0.5}"),
    entry("third"),
)


async def test_a_fallback_is_asked_after_the_attempts_with_its_own_defaults_and_is_reported():
    script = by_model(**{
        "first-model": lambda: reply(503, {}), "second-model": lambda: chat_reply("two"),
    })  # fmt: skip
    gateway, transport = made(CHAIN, script)
    witness, ticket = Witness(), Ticket()
    async with gateway:
        question = ChatRequest(
            endpoint="first", messages=(Message(role="user", content="x"),), substitutes=True
        )
        completion = await gateway.ask(question, observer=witness)
        await gateway.chat("first", BODY, ticket=ticket)
    assert (completion.text, completion.endpoint) == ("two", "second")
    assert [(r.number, r.endpoint) for r in witness.reports] == [
        (1, "first"), (2, "first"), (3, "second"),
    ]  # fmt: skip
    assert transport.bodies[2]["top_p"] == 0.5
    assert ticket.endpoint == "second"
    assert ticket.headers()["X-Hikaku-Attempts"] == "3"


async def test_an_evaluation_never_takes_a_substitutes_words_unless_it_says_so():
    gateway, transport = made(CHAIN, lambda _: reply(503, {}))
    async with gateway:
        with pytest.raises(Unavailable):
            await gateway.ask(
                ChatRequest(endpoint="first", messages=(Message(role="user", content="x"),))
            )
    assert {body["model"] for body in transport.bodies} == {"first-model"}


async def test_the_kind_of_failure_decides_who_is_asked_next():
    script = by_model(**{
        "first-model": lambda: reply(400, {"error": {"message": "too long"}}),
        "third-model": lambda: chat_reply("three"),
    })  # fmt: skip
    gateway, transport = made(CHAIN, script)
    async with gateway:
        assert (await gateway.chat("first", BODY)).text == "three"
    assert [body["model"] for body in transport.bodies] == ["first-model", "third-model"]


async def test_when_all_fail_the_last_failure_is_told():
    script = by_model(**{
        "first-model": lambda: reply(503, {}), "second-model": lambda: reply(429, {}),
    })  # fmt: skip
    gateway, transport = made(CHAIN, script)
    async with gateway:
        with pytest.raises(RateLimited):
            await gateway.chat("first", BODY)
    assert len(transport.requests) == 3


async def test_a_refusal_inside_an_answer_is_passed_on_only_where_it_is_asked_for():
    text = config(entry("a", "fallback: [{endpoint: b, when: [refused]}]"), entry("b"), entry("c"))
    script = by_model(**{
        "a-model": lambda: chat_reply(None, refusal="no"), "b-model": lambda: chat_reply("yes"),
        "c-model": lambda: chat_reply(None, refusal="no"),
    })  # fmt: skip
    gateway, _ = made(text, script)
    async with gateway:
        assert (await gateway.chat("a", BODY)).text == "yes"
        assert (await gateway.chat("c", BODY)).refusal == "no"
    both = by_model(**dict.fromkeys(("a-model", "b-model"), lambda: chat_reply(None, refusal="n")))
    gateway, _ = made(text, both)
    async with gateway:
        assert (await gateway.chat("a", BODY)).refusal == "n"
    failing = by_model(**{
        "a-model": lambda: chat_reply(None, refusal="n"), "b-model": lambda: reply(400, {}),
    })  # fmt: skip
    gateway, _ = made(text, failing)
    async with gateway:
        with pytest.raises((ContentRefused, InvalidRequest)):
            await gateway.chat("a", BODY)


async def test_a_stream_falls_back_before_its_first_chunk():
    script = by_model(**{
        "first-model": lambda: reply(503, {}),
        "second-model": lambda: Reply(status=200, headers={}, body=sse(CHUNK, COUNTS)),
    })  # fmt: skip
    kept = Kept()
    gateway, transport = made(CHAIN, script, recorder=Recorder(kept))
    ticket = Ticket(request_id="r1", caller="key-1")
    async with gateway:
        chunks = [c async for c in gateway.stream_chat("first", BODY, ticket=ticket)]
    assert len(chunks) == 2
    assert transport.open_streams == 0
    (record,) = kept.records
    assert (record.request_id, record.caller, record.asked) == ("r1", "key-1", "first")
    assert (record.endpoint, record.attempts, record.streamed) == ("second", 3, True)
    assert (record.input_tokens, record.output_tokens, record.outcome) == (7, 9, "ok")
    assert record.first_byte_seconds is not None


async def test_the_first_chunk_has_a_limit_and_the_stream_is_closed():
    class Silent(ScriptedTransport):
        @override
        async def send(self, request: WireRequest) -> Reply:
            await asyncio.sleep(60)
            raise AssertionError(request)

    text = config(entry("a", "timeouts: {first_byte: 0.01}\nretry: {max_attempts: 2, base: 0}"))
    transport = Silent(lambda _: reply())
    async with Gateway(catalog(text), transport) as gateway:
        with pytest.raises(TimedOut, match="no first byte"):
            [c async for c in gateway.stream_chat("a", BODY)]
    assert transport.open_streams == 0


async def test_a_server_that_keeps_failing_is_left_alone_then_probed_by_one_call():
    text = config(entry("a", "breaker: {failures: 3, open: 5}\nretry: {max_attempts: 1}"))
    broken, now = True, 1000.0
    gateway, transport = made(text, lambda _: reply(503, {}) if broken else chat_reply("back"))
    async with gateway:
        pool = gateway._lines["a"].pool
        assert isinstance(pool, Pool)
        pool.replicas[0].vitals.breaker._clock = lambda: now
        for _ in range(3):
            with pytest.raises(Unavailable):
                await gateway.chat("a", BODY)
        with pytest.raises(CircuitOpen) as caught:
            await gateway.chat("a", BODY)
        assert caught.value.http_status == 503
        assert caught.value.retry_after is not None
        assert len(transport.requests) == 3
        now += 6
        with pytest.raises(Unavailable):  # The probe fails: open again, for twice as long.
            await gateway.chat("a", BODY)
        now += 6
        with pytest.raises(CircuitOpen):
            await gateway.chat("a", BODY)
        broken = False
        now += 6
        assert (await gateway.chat("a", BODY)).text == "back"
        assert gateway.replicas("a")[0].state == "closed"
    assert len(transport.requests) == 5


async def test_a_call_waits_for_the_probe_within_its_attempts():
    text = config(entry("a", "breaker: {failures: 1, open: 0.02}\nretry: {base: 0.001}"))
    left = [reply(503, {}), chat_reply("back")]
    gateway, transport = made(text, lambda _: left.pop(0), sleep=asyncio.sleep)
    async with gateway:
        assert (await gateway.chat("a", BODY)).text == "back"
    assert len(transport.requests) == 2


async def test_a_cancelled_probe_leaves_the_way_free_for_the_next():
    class Stuck(ScriptedTransport):
        stuck = False

        @override
        async def send(self, request: WireRequest) -> Reply:
            if self.stuck:
                await asyncio.sleep(60)
            return await super().send(request)

    text = config(entry("a", "breaker: {failures: 1, open: 0.01}\nretry: {max_attempts: 1}"))
    answers = [reply(503, {}), chat_reply("back")]
    transport = Stuck(lambda _: answers.pop(0))
    async with Gateway(catalog(text), transport) as gateway:
        with pytest.raises(Unavailable):
            await gateway.chat("a", BODY)
        await asyncio.sleep(0.02)
        transport.stuck = True
        probe = asyncio.ensure_future(gateway.chat("a", BODY))
        await asyncio.sleep(0)
        with pytest.raises(CircuitOpen):
            await gateway.chat("a", BODY)
        probe.cancel()
        with pytest.raises(asyncio.CancelledError):
            await probe
        transport.stuck = False
        assert (await gateway.chat("a", BODY)).text == "back"


async def test_a_caller_beyond_its_share_is_refused_and_the_others_are_not():
    text = config(entry("a", "limits: {per_key: {rpm: 1}}"))
    gateway, transport = made(text, lambda _: chat_reply("x"))
    async with gateway:
        await gateway.chat("a", BODY, ticket=Ticket(caller="one"))
        with pytest.raises(NoTurn) as caught:
            await gateway.chat("a", BODY, ticket=Ticket(caller="one"))
        assert caught.value.http_status == 429
        await gateway.chat("a", BODY, ticket=Ticket(caller="two"))
    assert len(transport.requests) == 2


async def test_a_budget_is_never_exceeded_and_passes_on_to_a_cheaper_endpoint():
    price = "price: {input_usd_per_million_tokens: 0, output_usd_per_million_tokens: 1000000}\n"
    text = config(entry("a", price + "budget: {usd: 20}"), entry("b"))
    body = BODY | {"max_tokens": 5}
    noon = LocalBudgets(lambda: 43_200.0)  # Its day does not end meanwhile.
    gateway, transport = made(text, lambda _: chat_reply("x"), budgets=noon)  # 5 tokens: 5 USD.
    async with gateway:
        answers = await asyncio.gather(
            *(gateway.chat("a", body) for _ in range(10)), return_exceptions=True
        )
        paid = [a for a in answers if not isinstance(a, BaseException)]
        refused = [a for a in answers if isinstance(a, BudgetExhausted)]
        assert len(paid) + len(refused) == 10
        assert 0 < len(paid) * Decimal(5) <= 20
        assert refused[0].http_status == 402
        assert "per day" in refused[0].message
    assert len(transport.requests) == len(paid)


async def test_the_same_request_is_bought_once_where_the_operator_wants_it():
    text = config(entry("a", "cache: {ttl: 60}"), entry("b"))
    gateway, transport = made(text, lambda _: chat_reply("x"))
    async with gateway:
        first, second = Ticket(), Ticket()
        await gateway.chat("a", BODY, ticket=first)
        again = await gateway.chat("a", dict(reversed(BODY.items())), ticket=second)
        assert again.text == "x"
        assert (first.cached, second.cached) == (False, True)
        assert second.headers()["X-Hikaku-Cache"] == "hit"
        assert len(transport.requests) == 1
        await gateway.chat("a", BODY, ticket=Ticket(fresh=True))
        await gateway.chat("a", BODY | {"temperature": 0.5})
        await gateway.chat("a", BODY | {"temperature": 0.5})
        await gateway.chat("a", BODY | {"n": 2})
        await gateway.chat("b", BODY)
        await gateway.chat("b", BODY)
        assert len(transport.requests) == 7
        question = ChatRequest(
            endpoint="a", messages=(Message(role="user", content="x"),), params={"temperature": 0}
        )
        await gateway.ask(question)  # A repeat of an evaluation is asked anew.
        assert len(transport.requests) == 8


async def test_refusals_and_cut_answers_are_not_kept():
    text = config(entry("a", "cache: {when: always}"))
    for answer in (chat_reply(None, refusal="no"), chat_reply("half", finish_reason="length")):
        gateway, transport = made(text, in_turn(answer, answer))
        async with gateway:
            await gateway.chat("a", BODY)
            await gateway.chat("a", BODY)
        assert len(transport.requests) == 2


async def test_every_call_is_recorded_also_one_that_failed_or_was_given_up():
    kept = Kept()

    class Slow(ScriptedTransport):
        @override
        async def send(self, request: WireRequest) -> Reply:
            await asyncio.sleep(0.01)
            return await super().send(request)

    text = config(entry("a", "retry: {max_attempts: 1}"))
    transport = Slow(lambda _: reply(401, {}))
    async with Gateway(catalog(text), transport, recorder=Recorder(kept)) as gateway:
        with pytest.raises(Exception, match="401"):
            await gateway.chat("a", BODY)
        given_up = asyncio.ensure_future(gateway.chat("a", BODY))
        await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        stream = gateway.stream_chat("a", BODY)
        transport.script = lambda _: Reply(status=200, headers={}, body=sse(CHUNK, CHUNK))
        await anext(stream)
        await stream.aclose()
    assert [(r.outcome, r.status) for r in kept.records] == [
        ("provider_error", 401), (None, None), (None, None),
    ]  # fmt: skip
    assert all(r.attempts == 1 for r in kept.records)


async def test_equal_keys_stay_together_on_a_sticky_route():
    split = """routes:
  - name: split
    task_type: llm/v1/chat
    sticky: true
    destinations: [{name: a, weight: 1}, {name: b, weight: 1}]
"""
    gateway, transport = made(config(entry("a"), entry("b")) + split, lambda _: chat_reply("x"))
    async with gateway:
        for key in ("k1", "k2", "k3", "k4", "k5", "k6"):
            start = len(transport.requests)
            for _ in range(5):
                await gateway.chat("split", BODY, ticket=Ticket(sticky=key))
            assert len({b["model"] for b in transport.bodies[start:]}) == 1
        assert len({b["model"] for b in transport.bodies}) == 2
        start = len(transport.requests)
        for _ in range(20):
            await gateway.chat("split", BODY | {"user": "u"})
        assert len({b["model"] for b in transport.bodies[start:]}) == 1


async def test_whoever_is_waited_for_hears_soon_that_a_provider_is_busy():
    busy = [reply(429, {}, retry_after="0.3") for _ in range(9)]
    sleeper = Sleeper()
    gateway, transport = made(config(entry("a")), in_turn(*busy), sleep=sleeper, patience=0.5)
    async with gateway:
        with pytest.raises(RateLimited) as caught:
            await gateway.chat("a", BODY)
    assert caught.value.retry_after is not None
    assert len(transport.requests) <= 2
    assert sum(sleeper.slept) <= 0.5


async def test_an_account_without_quota_is_not_asked_again():
    broke = reply(429, {"error": {"message": "pay", "type": "insufficient_quota"}})
    gateway, transport = made(config(entry("a")), in_turn(*[broke] * 9))
    async with gateway:
        for _ in range(3):
            with pytest.raises(QuotaExhausted) as caught:
                await gateway.chat("a", BODY)
            assert caught.value.http_status == 402
        assert "pay" in (gateway.closed("a") or "")
    assert len(transport.requests) == 1


async def test_the_pace_that_replies_tell_is_kept_to():
    told = {"x-ratelimit-limit-requests": "600"}
    gateway, _ = made(config(entry("a")), in_turn(*[with_headers(told)] * 30))
    async with gateway:
        began = asyncio.get_running_loop().time()
        for _ in range(25):
            await gateway.chat("a", BODY)
        assert asyncio.get_running_loop().time() - began > 0.8  # 10 a second, after the first ten


def with_headers(headers: dict[str, str]) -> Reply:
    answer = chat_reply("赤")
    return Reply(status=answer.status, headers=headers, body=answer.body)
