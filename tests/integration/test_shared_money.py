"""Budgets and answers that all processes share, against a real Valkey; a hub per "process"."""

import asyncio
from contextlib import AsyncExitStack
from decimal import Decimal
from inspect import isawaitable
from random import Random
from uuid import uuid4

import pytest
import yaml

from gateway.config import Endpoint, parse
from gateway.errors import BudgetExhausted
from gateway.shared import Hub, SharedBudgets, SharedCache
from gateway.types import Answer, Usage
from stack.valkey import EmbeddedValkey
from tests.support.services import running_valkey, valkey

__all__ = ["valkey"]

MILLION = 1_000_000


def paid(usd: float, **budget: object) -> Endpoint:
    entry = {
        "name": "paid",
        "endpoint_type": "llm/v1/chat",
        "model": {"provider": "echo", "name": "m"},
        "price": {"input_usd_per_million_tokens": 1, "output_usd_per_million_tokens": 1},
        "budget": {"usd": usd, "period": "month", **budget},
    }
    return parse(yaml.safe_dump({"endpoints": [entry]}), {}).endpoints["paid"]


async def reserved(
    budgets: SharedBudgets, endpoint: Endpoint, tokens: int, who: str | None = None
) -> Decimal:
    found = budgets.reserve(endpoint, who, tokens)
    return await found if isawaitable(found) else found


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that this machine leaves no time is not away; one that is killed is at once."""
    monkeypatch.setattr("gateway.shared.hub.ANSWER_WITHIN", 20.0)


@pytest.fixture
async def hubs(valkey: EmbeddedValkey):
    prefix = f"t-{uuid4().hex[:8]}:"
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Hub(valkey.broker_url, prefix=prefix)) for _ in range(4)
        ]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_many_processes_never_spend_more_than_there_is(hubs, seed):
    random = Random(seed)  # noqa: S311
    endpoint, spent = paid(1), Decimal(0)

    async def lane(budgets: SharedBudgets) -> None:
        nonlocal spent
        for _ in range(60):
            tokens = random.randrange(1_000, 9_000)
            try:
                held = await reserved(budgets, endpoint, tokens)
            except BudgetExhausted:
                return
            await asyncio.sleep(random.random() * 0.002)
            real = random.randrange(tokens + 1)
            spent += Decimal(real) / MILLION
            budgets.settle(endpoint, None, held, Usage(input_tokens=real, output_tokens=0))

    await asyncio.gather(*(lane(SharedBudgets(hub)) for hub in hubs for _ in range(4)))
    assert Decimal("0.8") < spent <= 1


async def test_what_was_not_used_is_there_for_the_others(hubs):
    endpoint = paid(0.01)
    one, other = SharedBudgets(hubs[0]), SharedBudgets(hubs[1])
    held = await reserved(one, endpoint, 9_000)
    with pytest.raises(BudgetExhausted):
        await reserved(other, endpoint, 9_000)
    one.settle(endpoint, None, held, None)
    await one.part()
    assert await reserved(other, endpoint, 9_000) == Decimal("0.009")


async def test_every_key_has_a_budget_of_its_own_where_the_file_says_so(hubs):
    endpoint = paid(0.01, per_key=True)
    one, other = SharedBudgets(hubs[0]), SharedBudgets(hubs[1])
    await reserved(one, endpoint, 9_000, "key-a")
    with pytest.raises(BudgetExhausted):
        await reserved(other, endpoint, 9_000, "key-a")
    await reserved(other, endpoint, 9_000, "key-b")


async def spend_all(budgets: SharedBudgets, endpoint: Endpoint) -> None:
    for _ in range(200):
        await reserved(budgets, endpoint, 10_000)


async def test_without_the_store_a_part_may_be_spent_and_is_counted_when_it_is_back():
    endpoint = paid(1)
    with running_valkey() as service:
        async with Hub(service.broker_url) as hub:
            budgets = SharedBudgets(hub)
            service.kill()
            with pytest.raises(BudgetExhausted):
                await spend_all(budgets, endpoint)
            purse = next(iter(budgets._purses.values()))
            assert -250_000_000 <= purse.left <= -200_000_000
            service.start()
            async with asyncio.timeout(30):
                while hub.away:  # noqa: ASYNC110 - nobody tells us when it is back
                    await asyncio.sleep(0.05)
            for _ in range(2):
                await budgets.beat()
            assert int(await hub.ask("GET", purse.key)) >= 200_000_000


def answer(text: str) -> Answer:
    return Answer(raw=f'{{"t":"{text}"}}'.encode(), text=text, usage=Usage(input_tokens=3))


async def test_an_answer_of_one_process_is_given_by_another(hubs):
    one, other = SharedCache(hubs[0]), SharedCache(hubs[1])
    assert await other.get(b"k") is None
    await one.put(b"k", answer("赤"), 60)
    assert await other.get(b"k") == answer("赤")


async def test_answers_run_out_and_never_fill_the_store(hubs):
    cache = SharedCache(hubs[0], most_bytes=5_000)
    await cache.put(b"short", answer("x"), 0.05)
    await asyncio.sleep(0.1)
    assert await cache.get(b"short") is None
    for number in range(60):
        await cache.put(b"%d" % number, answer("x" * 100), 60 + number)
    kept = [number for number in range(60) if await cache.get(b"%d" % number) is not None]
    assert 3 < len(kept) < 25
    assert kept[-1] == 59
    index = hubs[0].key("{answers}", "index")
    assert int(await hubs[0].ask("GET", f"{index}:bytes")) <= 5_000
    await cache.put(b"huge", answer("x" * 10_000), 60)
    assert await cache.get(b"huge") is None


async def test_without_the_store_answers_are_kept_here(tmp_path):
    async with Hub(f"unix://{tmp_path}/nobody.sock") as hub:
        cache = SharedCache(hub)
        await cache.put(b"k", answer("赤"), 60)
        assert await cache.get(b"k") == answer("赤")
