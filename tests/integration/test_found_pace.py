"""Three processes ask a provider that enforces a limit and tells nothing but Retry-After."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest
import yaml
from redis.asyncio import Redis

from gateway.borne import ENOUGH
from gateway.config import Endpoint, parse
from gateway.errors import Outcome
from gateway.http.told import Meter, Told
from gateway.shared.gate import SharedGate
from gateway.shared.gates import SharedGates
from gateway.shared.hub import BEAT_EVERY, Hub
from stack.valkey import EmbeddedValkey
from tests.support.services import valkey

__all__ = ["valkey"]

RATE = 40.0
"""Calls a second that the provider allows; it lets a second of them be saved up."""
CALLS = 70
"""Of each process."""

ASKER = """
import asyncio, sys
from gateway.client import Gateway
from gateway.config import parse
from gateway.shared import Hub, SharedGates
from gateway.shared import hub as hub_module

async def main(url, prefix, text, calls):
    hub_module.ANSWER_WITHIN = 20.0  # A busy machine is no store that is away.
    hub = Hub(url, prefix=prefix)
    gates = SharedGates(hub, job=True)
    async with Gateway(parse(text, {}), gates=gates, companions=[hub]) as gateway:
        left = list(range(int(calls)))

        async def lane():
            while left:
                question = {"messages": [{"role": "user", "content": str(left.pop())}]}
                await gateway.chat("a", question)

        await asyncio.gather(*(lane() for _ in range(30)))

asyncio.run(main(*sys.argv[1:]))
"""


class Enforcer:
    """OpenAI's protocol behind a bucket; 429 beyond it."""

    def __init__(self) -> None:
        self.accepted = self.refused = 0
        self._level, self._at = RATE, time.monotonic()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                await reader.readexactly(length)
                writer.write(await self._answer())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self) -> bytes:
        now = time.monotonic()
        self._level = min(RATE, self._level + (now - self._at) * RATE)
        self._at = now
        if self._level < 1:
            self.refused += 1
            return _reply("429 Slow", b'{"error": {"message": "slow down"}}', b"retry-after: 1\r\n")
        self._level -= 1
        self.accepted += 1
        await asyncio.sleep(0.05)
        message = b'{"role": "assistant", "content": "x"}'
        return _reply(
            "200 OK",
            b'{"choices": [{"index": 0, "finish_reason": "stop", "message": ' + message + b"}]}",
        )


def _reply(status: str, body: bytes, headers: bytes = b"") -> bytes:
    start = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n".encode()
    return start + b"content-type: application/json\r\n" + headers + b"\r\n" + body


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that this machine leaves no time is not away."""
    monkeypatch.setattr("gateway.shared.hub.ANSWER_WITHIN", 20.0)


@pytest.fixture
async def enforcer() -> AsyncIterator[tuple[Enforcer, str]]:
    provider = Enforcer()
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield provider, f"http://127.0.0.1:{port}/v1"
    server.close()


def text_of(url: str, **limits: float) -> str:
    config = {"api_base": url, "api_key": "sk-1"}
    entry = {
        "name": "a", "endpoint_type": "llm/v1/chat", "limits": limits,
        "model": {"provider": "openai-compatible", "name": "m", "config": config},
        "retry": {"max_attempts": 50},
    }  # fmt: skip
    return yaml.safe_dump({"endpoints": [entry]})


def endpoint(**limits: float) -> Endpoint:
    return parse(text_of("http://127.0.0.1:9/v1", **limits), {}).endpoints["a"]


async def passed(gate: SharedGate) -> None:
    if (waiting := gate.enter(0)) is not None:
        await waiting


async def answered(gate: SharedGate, n: int, outcome: Outcome) -> None:
    for _ in range(n):
        await passed(gate)
        gate.leave(0, None, outcome)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - nobody tells us
            await asyncio.sleep(0.01)


async def test_processes_find_the_pace_together_and_a_late_one_knows_it(enforcer, valkey, tmp_path):
    provider, url = enforcer
    prefix = f"t-{tmp_path.name}:"
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", ASKER, valkey.broker_url, prefix, text_of(url), str(CALLS)
        )
        for _ in range(3)
    ]
    async with asyncio.timeout(120):
        codes = [await process.wait() for process in processes]
    assert codes == [0, 0, 0]
    assert provider.accepted == 3 * CALLS
    # With the window of calls at once alone, four calls in ten were refused.
    assert 0 < provider.refused <= 0.25 * provider.accepted
    async with Hub(valkey.broker_url, prefix=prefix) as hub:
        late = SharedGates(hub, job=True).of(parse(text_of(url), {}).endpoints["a"])
        assert isinstance(late, SharedGate)
        await passed(late)
        calls, _ = late.pace
        assert calls is not None
        assert 0.1 * RATE * 60 < calls < 4 * RATE * 60


@pytest.mark.parametrize("how", ["configured", "told"])
async def test_a_limit_that_is_configured_or_told_is_not_slowed_by_refusals(valkey, tmp_path, how):
    asked = endpoint(rpm=60_000) if how == "configured" else endpoint()
    async with Hub(valkey.broker_url, prefix=f"t-{tmp_path.name}:") as hub:
        gate = SharedGates(hub, job=True).of(asked)
        assert isinstance(gate, SharedGate)
        await passed(gate)
        if how == "told":
            gate.heard(Told(Meter(per_minute=60_000), None))
        for _ in range(20):
            assert not gate.refused(None, 0.1)
        await asyncio.sleep(0.2)
        assert gate.pace == (60_000, None)


async def test_a_provider_that_tells_its_limit_later_is_believed(valkey, tmp_path):
    prefix = f"t-{tmp_path.name}:"
    async with Hub(valkey.broker_url, prefix=prefix) as hub:
        gate = SharedGates(hub, job=True).of(endpoint())
        assert isinstance(gate, SharedGate)
        await answered(gate, ENOUGH + 1, Outcome.OK)
        assert gate.refused(None, 0.1)
        await until(lambda: gate.pace[0] is not None)
        gate.heard(Told(Meter(per_minute=60_000), None))
        assert gate.pace == (60_000, None)
        await asyncio.sleep(0.2)
        late = SharedGates(hub, job=True).of(endpoint())
        assert isinstance(late, SharedGate)
        async with asyncio.timeout(10):
            for _ in range(50):
                await passed(late)
        assert late.pace == (60_000, None)


async def test_refusals_in_a_storm_and_those_that_ask_for_no_patience_find_no_pace(
    valkey, tmp_path
):
    async with Hub(valkey.broker_url, prefix=f"t-{tmp_path.name}:") as hub:
        gate = SharedGates(hub, job=True).of(endpoint())
        assert isinstance(gate, SharedGate)
        for number in range(3 * ENOUGH):
            await passed(gate)
            gate.leave(0, None, Outcome.OK if number % 6 else Outcome.PROVIDER_ERROR)
        assert not gate.refused(None, 0.05)
        await answered(gate, 6 * ENOUGH, Outcome.OK)
        assert not gate.refused(timedelta(0), 0.05)
        assert gate.refused(None, 0.05)


async def test_a_pace_found_just_before_the_provider_was_seen_to_be_ill_is_let_go(
    valkey, tmp_path, monkeypatch
):
    # Else the late process would have to come ten seconds later.
    monkeypatch.setattr("gateway.shared.refusals.ONSET", 0.0)
    prefix = f"t-{tmp_path.name}:"
    async with Hub(valkey.broker_url, prefix=prefix) as one:
        gate = SharedGates(one, job=True).of(endpoint())
        assert isinstance(gate, SharedGate)
        await answered(gate, ENOUGH + 1, Outcome.OK)
        assert gate.refused(None, 0.05)
        await until(lambda: gate.pace[0] is not None)
        async with Hub(valkey.broker_url, prefix=prefix) as other:
            late = SharedGates(other, job=True).of(endpoint())
            assert isinstance(late, SharedGate)
            await answered(late, 1, Outcome.TIMEOUT)
            await asyncio.sleep(3 * BEAT_EVERY)
            assert late.pace[0] is not None  # It may have been borne for long.
            assert gate.pace[0] is not None
            await answered(gate, 4, Outcome.TIMEOUT)
            await until(lambda: gate.pace[0] is None and late.pace[0] is None)
        assert not gate.refused(None, 0.05)


async def test_refusals_heard_by_many_at_once_are_one(valkey: EmbeddedValkey, tmp_path):
    prefix = f"t-{tmp_path.name}:"
    async with (
        Hub(valkey.broker_url, prefix=prefix) as one,
        Hub(valkey.broker_url, prefix=prefix) as other,
    ):
        gates = [SharedGates(hub, job=True).of(endpoint()) for hub in (one, other)]
        for gate in gates:
            assert isinstance(gate, SharedGate)
            await answered(gate, ENOUGH + 1, Outcome.OK)
            for _ in range(20):
                assert gate.refused(None, 0.05)
        redis = Redis.from_url(valkey.url)
        await until(lambda: all(isinstance(one, SharedGate) and one.pace[0] for one in gates))
        await asyncio.sleep(0.3)
        (key,) = [name async for name in redis.scan_iter(f"{prefix}gate:*model*")]
        found = await redis.hmget(key, ["fl", "fk"])
        await redis.aclose()
        level, span = (float(value or 0) for value in found)
        assert 0.05 < level < 100  # Not cut forty times over.
        assert span <= 600
