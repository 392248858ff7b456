"""The limits that all processes keep together, against a real Valkey.

Several hubs in one process stand for several processes; where one is killed, it is a real one.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from inspect import isawaitable
from pathlib import Path
from uuid import uuid4

import pytest
import yaml
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from gateway.config import Endpoint, parse
from gateway.errors import NoTurn, Outcome, QuotaExhausted
from gateway.http.told import Meter, Told
from gateway.limits import Callers, Gate
from gateway.shared.gate import SharedGate
from gateway.shared.gates import SharedGates
from gateway.shared.hub import Hub
from stack.valkey import EmbeddedValkey
from tests.support.relay import relay
from tests.support.services import running_valkey, valkey

__all__ = ["valkey"]

Hubs = Callable[[], "asyncio.Future[Hub]"]


def endpoint(name: str = "a", *, model: str = "m", **more: object) -> Endpoint:
    entry = {
        "name": name,
        "endpoint_type": "llm/v1/chat",
        "model": {"provider": "openai", "name": model, "config": {"openai_api_key": "sk-secret-1"}},
        **more,
    }
    return parse(yaml.safe_dump({"endpoints": [entry]}), {}).endpoints[name]


@pytest.fixture
def prefix() -> str:
    return f"t-{uuid4().hex[:8]}:"


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that this machine leaves no time is not away; one that is killed is at once."""
    monkeypatch.setattr("gateway.shared.hub.ANSWER_WITHIN", 20.0)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


@pytest.fixture
def opened(valkey: EmbeddedValkey, prefix: str, stack: AsyncExitStack):
    async def open_one() -> Hub:
        return await stack.enter_async_context(Hub(valkey.broker_url, prefix=prefix))

    return open_one


async def gates(opened, asked: Endpoint, n: int = 2, **more) -> list[Gate]:
    options = {"job": True} | more
    return [SharedGates(await opened(), **options).of(asked) for _ in range(n)]


async def settled(found: Callable[[], bool]) -> None:
    """Wait for what has to become so."""
    async with asyncio.timeout(30):
        while not found():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.01)


async def passed(gate: Gate, tokens: int = 0) -> None:
    if (waiting := gate.enter(tokens)) is not None:
        await waiting


async def stream(gate: Gate, until: float, tokens: int = 0, spent: int | None = None) -> int:
    """Calls that one lane gets through in a time."""
    made = 0
    while time.monotonic() < until:
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await passed(gate, tokens)
        except TimeoutError:
            break
        if time.monotonic() >= until:  # The machine slept; what came then came too late.
            gate.leave(tokens, spent, Outcome.OK)
            break
        made += 1
        await asyncio.sleep(0)
        gate.leave(tokens, spent, Outcome.OK)
    return made


async def keeps_to(
    several: list[Gate], least: int, most: int, *, lanes: int, tokens: int = 0,
    spent: int | None = None,
) -> None:  # fmt: skip
    """In two seconds no more than `most` calls pass, and not always fewer than `least`.

    Slowness of ours is there every time; that of a busy machine is not.
    """
    for _ in range(8):
        until = time.monotonic() + 2
        each = [stream(gate, until, tokens, spent) for gate in several for _ in range(lanes)]
        made = sum(await asyncio.gather(*each))
        assert made <= most
        if made >= least:
            return
    raise AssertionError("too few calls passed, time and again")


async def test_all_processes_together_keep_to_the_calls_per_minute(opened):
    several = await gates(opened, endpoint(limits={"rpm": 1200}), 3)
    await keeps_to(several, 30, 45, lanes=5)  # 20 a second for 2 s, and what the bucket held


async def test_endpoints_of_one_account_share_its_limit(opened):
    one = endpoint("a", model="x", account={"rpm": 1200})
    other = endpoint("b", model="y", account={"rpm": 1200})
    apart = endpoint("c", account={"name": "else", "rpm": 1200})
    several = [(await gates(opened, asked, 1))[0] for asked in (one, other, apart)]
    best = 0
    for _ in range(8):
        until = time.monotonic() + 1
        made = await asyncio.gather(*(stream(gate, until) for gate in several))
        assert made[0] + made[1] <= 26
        best = max(best, made[2])
        if best >= 12:
            break
    assert best >= 12


async def test_no_key_stands_in_the_store(opened, valkey, prefix):
    for gate in await gates(opened, endpoint(limits={"rpm": 600, "concurrency": 3})):
        await passed(gate)
    redis = Redis.from_url(valkey.url)
    names = [name.decode() async for name in redis.scan_iter(f"{prefix}*")]
    await redis.aclose()
    assert len(names) >= 3
    assert not any("secret" in name or "sk-" in name for name in names)


async def test_tokens_are_one_budget_and_what_was_really_used_counts(opened):
    several = await gates(opened, endpoint(limits={"tpm": 60_000}), 2)  # 1000 a second
    # Not the 40 that the estimates would have let through.
    await keeps_to(several, 10, 30, lanes=4, tokens=50, spent=100)


async def test_places_are_never_more_than_there_are(opened):
    several = await gates(opened, endpoint(limits={"concurrency": 5}), 3)
    running = most = finished = 0

    async def call(gate: Gate) -> None:
        nonlocal running, most, finished
        await passed(gate)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        finished += 1
        gate.leave(0, None, Outcome.OK)

    await asyncio.gather(*(call(gate) for gate in several for _ in range(40)))
    assert finished == 120
    assert 4 <= most <= 5


async def test_a_process_gets_the_places_that_another_no_longer_needs(opened):
    first, second = await gates(opened, endpoint(limits={"concurrency": 4}), 2)
    for _ in range(4):
        await passed(first)
    waiting = asyncio.ensure_future(passed(second))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    first.leave(0, None, Outcome.OK)
    async with asyncio.timeout(10):
        await waiting


async def test_a_question_goes_before_the_calls_of_jobs(opened):
    asked = endpoint(limits={"rpm": 600})
    job = SharedGates(await opened(), job=True).of(asked)
    chat = SharedGates(await opened(), job=False).of(asked)
    of_jobs = 0

    async def lane() -> None:
        nonlocal of_jobs
        while True:
            await passed(job)
            of_jobs += 1
            await asyncio.sleep(0)
            job.leave(0, None, Outcome.OK)

    lanes = [asyncio.create_task(lane()) for _ in range(50)]
    await asyncio.sleep(0.5)
    for _ in range(8):
        before = of_jobs
        await passed(chat)
        assert of_jobs - before < 10  # Of the fifty that stood before it.
        chat.leave(0, None, Outcome.OK)
        await asyncio.sleep(0.2)
    async with asyncio.timeout(60):
        while of_jobs <= 10:  # noqa: ASYNC110 - and jobs get the rest
            await asyncio.sleep(0.05)
    for task in lanes:
        task.cancel()
    await asyncio.gather(*lanes, return_exceptions=True)


async def test_a_place_is_left_to_questions_where_jobs_hold_all(opened):
    asked = endpoint(limits={"concurrency": 4})
    job = SharedGates(await opened(), job=True).of(asked)
    chat = SharedGates(await opened(), job=False).of(asked)
    ended: list[str] = []

    async def lane() -> None:
        await passed(job)
        await asyncio.sleep(0.1)
        ended.append("job")
        job.leave(0, None, Outcome.OK)

    lanes = [asyncio.create_task(lane()) for _ in range(200)]
    await asyncio.sleep(0.2)
    await passed(chat)
    assert len(ended) < 60  # 200 calls stood before it.
    chat.leave(0, None, Outcome.OK)
    for task in lanes:
        task.cancel()
    await asyncio.gather(*lanes, return_exceptions=True)


async def test_patience_asked_for_by_the_provider_holds_all_processes(opened):
    first, second = await gates(opened, endpoint(), 2)
    for gate in (first, second):
        await passed(gate)
        gate.leave(0, None, Outcome.OK)
    began = time.monotonic()
    await first.block(timedelta(seconds=1))
    assert isinstance(second, SharedGate)
    await settled(lambda: second._blocked_until > 0)
    late = (await gates(opened, endpoint(), 1))[0]

    async def seconds(gate: Gate) -> float:
        await passed(gate)
        return time.monotonic() - began

    assert min(await asyncio.gather(seconds(second), seconds(late))) > 0.9


async def test_news_are_heard_by_a_process_that_has_only_just_begun(opened, monkeypatch):
    subscribe = PubSub.subscribe

    async def late(self: PubSub, *channels: str) -> None:
        await asyncio.sleep(0.2)
        await subscribe(self, *channels)

    monkeypatch.setattr(PubSub, "subscribe", late)
    first, second = await gates(opened, endpoint(), 2)
    await passed(first)
    await passed(second)  # It has asked what is known, and nobody is blocked.
    await first.block(timedelta(seconds=600))
    async with asyncio.timeout(30):
        while (waiting := second.enter(0)) is None:
            second.leave(0, None, Outcome.OK)
            await asyncio.sleep(0.01)
    asyncio.ensure_future(waiting).cancel()


async def test_a_process_whose_line_to_the_news_is_dead_and_never_cut_hears_them_again(
    opened, valkey, prefix, stack, monkeypatch
):
    for name, seconds in {"ANSWER_WITHIN": 1.0, "SILENCE": 0.3, "SIGN_WITHIN": 1.0}.items():
        monkeypatch.setattr(f"gateway.shared.hub.{name}", seconds)
    with relay(Path(valkey.broker_url.removeprefix("redis+socket://"))) as wire:
        url = f"redis://127.0.0.1:{wire.port}/0"
        far = await stack.enter_async_context(Hub(url, prefix=prefix))
        (first,), second = await gates(opened, endpoint(), 1), SharedGates(far, job=True)
        gate = second.of(endpoint())
        assert not await is_held_up(gate)
        wire.go_silent()
        await settled(lambda: far.away)
        wire.leave_half_open()
        await settled(lambda: not far.away)
        assert not await is_held_up(gate)  # It knows again what is known.
        await first.block(timedelta(seconds=600))
        async with asyncio.timeout(60):
            while not await is_held_up(gate):  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.05)


async def is_held_up(gate: Gate) -> bool:
    try:
        async with asyncio.timeout(2):
            await passed(gate)
    except TimeoutError:
        return True
    gate.leave(0, None, Outcome.OK)
    return False


async def test_whoever_may_not_wait_so_long_hears_so_at_once(opened):
    first, second = await gates(opened, endpoint(), 2, job=False, patience=1.0)
    await passed(first)
    await first.block(timedelta(seconds=30))
    with pytest.raises(NoTurn) as caught:
        await passed(first)
    assert caught.value.retry_after is not None
    assert 25 < caught.value.retry_after.total_seconds() <= 30
    async with asyncio.timeout(5):
        with pytest.raises(NoTurn):
            await passed(second)


async def test_a_pace_that_one_process_is_told_is_the_pace_of_all(opened):
    first, second = await gates(opened, endpoint(), 2)
    await passed(first)
    await passed(second)
    first.heard(Told(Meter(per_minute=600, remaining=500, reset=10), Meter(per_minute=9000)))
    assert isinstance(second, SharedGate)
    await settled(lambda: second.pace == (600, 9000))
    third = (await gates(opened, endpoint(), 1))[0]
    await passed(third)
    for gate in (first, second, third):
        assert isinstance(gate, SharedGate)
        assert gate.pace == (600, 9000)
        assert gate.counts


async def test_an_account_without_quota_is_left_alone_by_everybody(opened):
    first = (await gates(opened, endpoint("a"), 1))[0]
    second = (await gates(opened, endpoint("b", model="other"), 1))[0]
    await passed(first)
    await passed(second)
    first.shut(QuotaExhausted("you have no money", status=429))
    await settled(lambda: second.closed is not None)
    late = (await gates(opened, endpoint("c", model="third"), 1))[0]
    for gate in (first, second, late):
        with pytest.raises(QuotaExhausted, match="you have no money"):
            await passed(gate)
        assert "no money" in (gate.closed or "")


async def test_an_endpoint_without_limits_costs_no_word_to_the_store(opened):
    hub = await opened()
    gate = SharedGates(hub, job=True).of(endpoint())
    await passed(gate)
    gate.leave(0, None, Outcome.OK)
    asked = hub.requests
    for _ in range(500):
        assert gate.enter(10) is None
        gate.leave(10, 10, Outcome.OK)
    assert hub.requests - asked <= 1  # A heart beats meanwhile.


async def test_callers_have_one_share_at_all_processes(opened):
    asked = endpoint(limits={"per_key": {"rpm": 4}})
    assert asked.limits.per_key is not None
    several = [
        SharedGates(await opened(), job=False).of_callers(asked, asked.limits.per_key)
        for _ in range(3)
    ]
    let_in = 0
    for callers in several * 3:
        with suppress(NoTurn):
            (await entered(callers, "key-1")).leave(0, None, None)
            let_in += 1
    assert 1 <= let_in <= 4
    with pytest.raises(NoTurn) as caught:
        await entered(several[0], "key-1")
    assert caught.value.retry_after is not None
    await entered(several[0], "key-2")


async def entered(callers: Callers, caller: str) -> Gate:
    entering = callers.enter(caller, 0)
    return await entering if isawaitable(entering) else entering


HOLDER = """
import asyncio, sys
import yaml
from gateway.config import parse
from gateway.shared.gates import SharedGates
from gateway.shared import places
from gateway.shared.hub import Hub

async def main(url, prefix, text, name="", lease=""):
    hub = Hub(url, prefix=prefix)
    if name:
        hub.me, places.PRESENT = name, float(lease)
    async with hub:
        gate = SharedGates(hub, job=True).of(parse(text, {}).endpoints["a"])
        for _ in range(3):
            waiting = gate.enter(0)
            if waiting is not None:
                await waiting
        print("held", flush=True)
        await asyncio.sleep(600)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_the_places_of_a_killed_process_come_back(opened, valkey, prefix):
    entry = {
        "name": "a", "endpoint_type": "llm/v1/chat", "limits": {"concurrency": 3},
        "model": {"provider": "echo", "name": "m"},
    }  # fmt: skip
    text = yaml.safe_dump({"endpoints": [entry]})
    holder = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        HOLDER,
        valkey.broker_url,
        prefix,
        text,
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    gate = SharedGates(await opened(), job=True).of(parse(text, {}).endpoints["a"])
    waiting = asyncio.ensure_future(passed(gate))
    await asyncio.sleep(6.5)  # Longer than a lease: it is renewed as long as the holder lives.
    assert not waiting.done()
    os.kill(holder.pid, signal.SIGKILL)
    await holder.wait()
    async with asyncio.timeout(30):
        await waiting


async def test_who_knows_that_a_process_is_dead_frees_its_places_and_nobody_elses(
    opened, valkey, prefix
):
    entry = {
        "name": "a", "endpoint_type": "llm/v1/chat", "limits": {"concurrency": 4},
        "model": {"provider": "echo", "name": "m"},
    }  # fmt: skip
    text = yaml.safe_dump({"endpoints": [entry]})
    living, other = str(uuid4()), str(uuid4())
    hubs = [await opened(), await opened()]
    hubs[0].me, hubs[1].me = living, other
    first, second = (SharedGates(hub, job=True).of(parse(text, {}).endpoints["a"]) for hub in hubs)
    await passed(first)
    dead = str(uuid4())
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, valkey.broker_url, prefix, text, dead, "600",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    assert await holder.stdout.readline() == b"held\n"
    waiting = asyncio.ensure_future(passed(second))
    await asyncio.sleep(0.5)
    os.kill(holder.pid, signal.SIGKILL)
    await holder.wait()
    await asyncio.sleep(0.5)
    assert not waiting.done()  # Its lease is good for ten minutes.
    await hubs[1].bury(dead[:-1])  # Somebody whose name is like it.
    await asyncio.sleep(0.5)
    assert not waiting.done()
    await hubs[1].bury(dead)
    async with asyncio.timeout(10):
        await waiting
    redis = Redis.from_url(valkey.url)
    (key,) = [name async for name in redis.scan_iter(f"{prefix}*places")]
    held = set(await redis.hkeys(key))
    present = await redis.zscore(f"{prefix}processes", dead)
    await redis.aclose()
    assert f"{living}:a".encode() in held
    assert f"{dead}:a".encode() not in held
    assert present is None


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    with running_valkey() as service:
        yield service


async def test_without_the_store_each_keeps_to_a_part_and_comes_back(own_valkey):
    asked = endpoint(limits={"rpm": 6000, "concurrency": 100})
    async with Hub(own_valkey.broker_url) as one, Hub(own_valkey.broker_url) as other:
        several = [SharedGates(hub, job=True).of(asked) for hub in (one, other)]
        for gate in several:
            await passed(gate)
            gate.leave(0, None, Outcome.OK)
        own_valkey.kill()
        # A quarter of 100 a second each, and what was in hand.
        await keeps_to(several, 20, 150, lanes=4)
        assert one.away or other.away
        own_valkey.start()
        async with asyncio.timeout(30):
            while one.away or other.away:  # noqa: ASYNC110 - nobody tells us when it is back
                await asyncio.sleep(0.05)
        await keeps_to(several, 120, 250, lanes=4)


async def test_without_the_store_from_the_beginning_calls_go(tmp_path):
    async with Hub(f"unix://{tmp_path}/nobody.sock") as hub:
        gate = SharedGates(hub, job=False).of(endpoint(limits={"rpm": 60_000, "concurrency": 8}))
        async with asyncio.timeout(10):
            for _ in range(20):
                await passed(gate)
                gate.leave(0, None, Outcome.OK)


async def test_a_flushed_store_is_filled_again(opened, valkey):
    several = await gates(opened, endpoint(limits={"rpm": 60_000, "concurrency": 4}), 2)
    redis = Redis.from_url(valkey.url)
    running = most = 0

    async def call(gate: Gate) -> None:
        nonlocal running, most
        await passed(gate)
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        gate.leave(0, None, Outcome.OK)

    calls = [asyncio.create_task(call(gate)) for gate in several for _ in range(60)]
    await asyncio.sleep(0.3)
    await redis.flushall()
    await redis.script_flush()
    await redis.aclose()
    async with asyncio.timeout(60):
        await asyncio.gather(*calls)
    assert most <= 8  # For a moment both may hold all.
