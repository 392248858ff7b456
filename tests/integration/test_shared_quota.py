"""MLflow's `limit:` as one count: two gateways as their users run them, and a real Valkey."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
from redis import Redis

from gateway.config import CallLimit
from gateway.quota import CallLimitExceeded
from gateway.shared import Hub, SharedQuota
from stack.valkey import EmbeddedValkey
from tests.support.gateway_server import serving
from tests.support.services import running_valkey, valkey

__all__ = ["valkey"]

CONFIG = """
endpoints:
  - name: {name}
    endpoint_type: llm/v1/chat
    model: {{provider: echo, name: parrot}}
    limit: {{calls: {calls}, renewal_period: year}}
"""
BODY = {"messages": [{"role": "user", "content": "りんご"}]}
TEN = CallLimit(calls=10, renewal_period="year")


def ask(url: str, name: str) -> httpx2.Response:
    return httpx2.post(f"{url}/gateway/{name}/invocations", json=BODY, trust_env=False)


def two_gateways(stack: ExitStack, folder: Path, text: str, redis: str) -> list[str]:
    found = []
    for number in range(2):
        config = folder / f"gateway{number}.yaml"
        config.write_text(text, encoding="utf-8")
        environ = {"HIKAKU_REDIS_URL": redis, "HIKAKU_API_KEY": ""}
        found.append(stack.enter_context(serving(config, environ)))
    return found


def test_two_gateways_count_together_and_refuse_in_mlflows_words(tmp_path, valkey):
    name = f"chat-{uuid4().hex[:8]}"
    with ExitStack() as stack:
        text = CONFIG.format(name=name, calls=6)
        urls = two_gateways(stack, tmp_path, text, valkey.broker_url)
        answers = [ask(url, name) for _ in range(5) for url in urls]
        assert [a.status_code for a in answers] == [200] * 6 + [429] * 4
        refused = answers[-1]
        assert refused.json() == {"error": "Rate limit exceeded: 6 per 1 year"}
        # As in the original, the older prefix has a count of its own.
        older = httpx2.post(f"{urls[0]}/endpoints/{name}/invocations", json=BODY, trust_env=False)
        assert older.status_code == 200
    redis = Redis.from_url(valkey.url)
    (key,) = [k for k in redis.scan_iter("hk:quota:*year") if redis.hget(k, "calls") == b"6"]
    assert 0 < redis.ttl(key) <= 366 * 86_400  # It goes with its period.
    assert b"127.0.0.1" not in key
    redis.close()


@pytest.fixture
def own_valkey() -> Iterator[EmbeddedValkey]:
    with running_valkey() as service:
        yield service


def test_gateways_that_lose_the_store_go_on_with_a_part_each(tmp_path, own_valkey):
    with ExitStack() as stack:
        text = CONFIG.format(name="chat", calls=20)
        urls = two_gateways(stack, tmp_path, text, own_valkey.broker_url)
        for url in urls:
            assert [ask(url, "chat").status_code for _ in range(2)] == [200, 200]
        own_valkey.kill()
        for url in urls:
            found = Counter(ask(url, "chat").status_code for _ in range(10))
            assert found.keys() == {200, 429}  # No error, and no other answer.
            assert 1 <= found[200] <= 5  # A quarter of what was left.


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that this machine leaves no time is not away."""
    monkeypatch.setattr("gateway.shared.hub.ANSWER_WITHIN", 20.0)


async def spent(quota: SharedQuota, calls: int, limit: CallLimit = TEN) -> int:
    """How many of some calls were let pass."""
    passed = 0
    for _ in range(calls):
        try:
            await quota.spend(limit, "gateway", "chat", "10.0.0.1")
        except CallLimitExceeded:
            continue
        passed += 1
    return passed


async def test_calls_let_pass_without_the_store_are_counted_when_it_is_back(own_valkey, stack):
    one, other = [await stack.enter_async_context(Hub(own_valkey.broker_url)) for _ in range(2)]
    quota, second = SharedQuota(one), SharedQuota(other)
    assert await spent(quota, 2) == 2
    one.away = True
    assert await spent(quota, 20) == 2  # A quarter of eight.
    one.away = False
    assert await spent(quota, 1) == 1
    assert await spent(second, 20) == 5


async def test_whoever_is_refused_once_costs_the_store_no_further_word(valkey, stack):
    hub = await stack.enter_async_context(Hub(valkey.broker_url, prefix=f"t-{uuid4().hex[:8]}:"))
    quota = SharedQuota(hub)
    assert await spent(quota, 11) == 10
    asked = hub.requests
    assert await spent(quota, 500) == 0
    assert hub.requests - asked <= 1  # A heart beats meanwhile.
    assert await spent(quota, 5, TEN.model_copy(update={"calls": 12})) == 2  # The file was changed.


async def test_without_a_store_from_the_beginning_a_part_goes_and_one_call_at_least(tmp_path):
    async with Hub(f"unix://{tmp_path}/nobody.sock") as hub:
        assert await spent(SharedQuota(hub), 10, TEN.model_copy(update={"calls": 1})) == 1
        assert await spent(SharedQuota(hub), 10, TEN.model_copy(update={"calls": 8})) == 2


async def test_a_new_period_begins_with_nothing_spent(valkey, stack):
    hub = await stack.enter_async_context(Hub(valkey.broker_url, prefix=f"t-{uuid4().hex[:8]}:"))
    quota = SharedQuota(hub)
    assert await spent(quota, 11) == 10
    redis = Redis.from_url(valkey.url)
    (key,) = list(redis.scan_iter(f"{hub.prefix}quota:*"))
    redis.hincrby(key, "period", -1)  # It was spent in the period before.
    redis.close()
    assert await spent(SharedQuota(hub), 11) == 10
