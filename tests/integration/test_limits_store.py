"""What becomes of the limits when the store answers, and takes nothing in: nobody hears of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import yaml
from redis import Redis as SyncRedis
from redis.asyncio import Redis

from gateway.cache import Cache
from gateway.config import Endpoint, parse
from gateway.errors import Outcome, RateLimited
from gateway.limits import Gate
from gateway.shared import Hub, SharedBudgets, SharedCache, SharedGates
from gateway.types import Answer, Usage
from stack.valkey import EmbeddedValkey
from tests.support.services import running_valkey

Spell = Callable[["Redis"], Awaitable[object]]


@pytest.fixture(scope="module")
def store():
    with running_valkey() as service:
        yield service


@pytest.fixture
async def redis(store: EmbeddedValkey) -> AsyncIterator[Redis]:
    line = Redis.from_url(store.url)
    yield line
    await _open_again(line)
    await line.flushall()
    await line.aclose()


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that this machine leaves no time is not away; one that refuses is at once."""
    monkeypatch.setattr("gateway.shared.hub.ANSWER_WITHIN", 20.0)


def endpoint() -> Endpoint:
    entry = {
        "name": "a", "endpoint_type": "llm/v1/chat",
        "model": {"provider": "openai", "name": "m", "config": {"openai_api_key": "sk-1"}},
        "limits": {"rpm": 6000, "concurrency": 100},
        "price": {"input_usd_per_million_tokens": 1, "output_usd_per_million_tokens": 1},
        "budget": {"usd": 1, "period": "day"},
    }  # fmt: skip
    return parse(yaml.safe_dump({"endpoints": [entry]}), {}).endpoints["a"]


async def _fill(redis: Redis) -> None:
    await redis.config_set("maxmemory", "1")


async def _demote(redis: Redis) -> None:
    await redis.execute_command("REPLICAOF", "127.0.0.1", "1")


async def _open_again(redis: Redis) -> None:
    await redis.execute_command("REPLICAOF", "NO", "ONE")
    await redis.config_set("maxmemory", "0")


class Caller:
    """Asks without end; what is raised is remembered."""

    def __init__(self, hub: Hub) -> None:
        self.gate: Gate = SharedGates(hub, job=True).of(endpoint())
        self.budgets = SharedBudgets(hub)
        self.cache: Cache = SharedCache(hub)
        self.made = 0
        self.raised: list[BaseException] = []

    async def ask(self) -> None:
        try:
            async with asyncio.timeout(20):
                if (waiting := self.gate.enter(10)) is not None:
                    await waiting
                reserving = self.budgets.reserve(endpoint(), None, 10)
                reserved = await reserving if isinstance(reserving, Awaitable) else reserving
                await self.cache.put(b"k", Answer(raw=b"{}"), 60)
                await self.cache.get(b"k")
            self.budgets.settle(endpoint(), None, reserved, Usage(input_tokens=1, output_tokens=1))
            self.gate.leave(10, 2, Outcome.OK)
            self.made += 1
        except Exception as error:  # noqa: BLE001 - whatever it is
            self.raised.append(error)

    async def stream(self, until: float) -> None:
        while time.monotonic() < until:
            await self.ask()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("spell", [_fill, _demote], ids=["memory full", "read-only replica"])
async def test_a_store_that_takes_nothing_in_is_away_and_comes_back(store, redis, spell: Spell):
    async with AsyncExitStack() as stack:
        hubs = [await stack.enter_async_context(Hub(store.broker_url)) for _ in range(2)]
        callers = [Caller(hub) for hub in hubs]
        for caller in callers:
            await caller.ask()
        await spell(redis)
        end = time.monotonic() + 3
        lanes = [caller.stream(end) for caller in callers for _ in range(4)]
        before = sum(caller.made for caller in callers)
        looking = asyncio.create_task(until(lambda: all(hub.away for hub in hubs)))
        await asyncio.gather(*lanes)
        await looking
        assert all(hub.away for hub in hubs)  # It answers PING, and is away all the same.
        made = sum(caller.made for caller in callers) - before
        assert 20 <= made <= 0.75 * 300  # Two quarters of 100 a second, and what was in hand.
        await _open_again(redis)
        await until(lambda: not any(hub.away for hub in hubs))
        for caller in callers:
            await caller.ask()
        assert [caller.raised for caller in callers] == [[], []]
        keys = [name async for name in redis.scan_iter("hk:*")]
        assert any(b"places" in name for name in keys)
        assert any(name.startswith(b"hk:gate") and not name.endswith(b"places") for name in keys)


async def test_refusals_while_the_store_takes_nothing_in_are_left_to_the_window(store, redis):
    entry = {
        "name": "a", "endpoint_type": "llm/v1/chat",
        "model": {"provider": "openai", "name": "m", "config": {"openai_api_key": "sk-1"}},
    }  # fmt: skip
    asked = parse(yaml.safe_dump({"endpoints": [entry]}), {}).endpoints["a"]
    async with Hub(store.broker_url) as hub:
        gate = SharedGates(hub, job=True).of(asked)
        if (waiting := gate.enter(0)) is not None:
            await waiting
        with SyncRedis.from_url(store.url) as line:
            line.config_set("maxmemory", "1")
        # The loop has not run since: nobody knows yet that it cannot be told.
        assert gate.refused(None, 0.1)
        await until(lambda: hub.away)
        assert not gate.refused(None, 0.1)
        gate.leave(0, None, RateLimited("slow down").outcome)
        if (waiting := gate.enter(0)) is not None:
            async with asyncio.timeout(10):
                await waiting


async def test_a_store_that_is_loading_is_away(tmp_path):
    answer, asked = b"-LOADING Valkey is loading the dataset in memory\r\n", 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while await reader.read(65_536):
            asked += 1
            writer.write(answer)
        writer.close()

    server = await asyncio.start_unix_server(serve, f"{tmp_path}/v.sock")
    async with server, Hub(f"unix://{tmp_path}/v.sock") as hub:
        caller = Caller(hub)
        for _ in range(5):
            await caller.ask()
        assert hub.away
        assert caller.raised == []
        assert caller.made == 5
    assert asked > 0
