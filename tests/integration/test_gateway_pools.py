"""A pool of real servers: shared out, held within their capacity, one killed and brought back."""

import asyncio
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from gateway.client import Gateway
from gateway.config import parse
from gateway.errors import Unavailable
from gateway.pools import ReplicaStatus
from gateway.types import AttemptReport, ChatRequest, Message
from tests.support.gateway_server import free_port

SERVER = Path(__file__).resolve().parents[1] / "support" / "tgi_server.py"
CAPACITY = 4
TOOK = 0.05
TRIES = 8
LONGEST = 240 / (3 * CAPACITY) * TOOK * 2.5
"""Seconds for 240 calls."""
POOL = """
endpoints:
  - name: pool
    endpoint_type: llm/v1/completions
    model: {{provider: tgi, name: qwen}}
    urls: [{urls}]
    health: {{interval: 0.2, timeout: 30}}
    breaker: {{open: 0.3, max_open: 0.6}}
    retry: {{base: 0.05, max_attempts: 6}}
"""


class Servers:
    """The processes of a pool, by port."""

    def __init__(self, size: int) -> None:
        self.ports = [free_port() for _ in range(size)]
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    async def start(self, port: int) -> None:
        command = [sys.executable, str(SERVER), str(port), str(CAPACITY), str(TOOK)]
        self.processes[port] = subprocess.Popen(command)  # noqa: ASYNC220 - it is not waited for
        await asyncio.to_thread(self._ready, port)

    def kill(self, port: int) -> None:
        self.processes[port].kill()
        self.processes.pop(port).wait()

    def stats(self, port: int) -> dict[str, int]:
        found: dict[str, int] = httpx2.get(f"{self._url(port)}/stats", trust_env=False).json()
        return found

    def config(self) -> str:
        return POOL.format(urls=", ".join(map(self._url, self.ports)))

    @staticmethod
    def _url(port: int) -> str:
        return f"http://127.0.0.1:{port}"

    def _ready(self, port: int) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                httpx2.get(f"{self._url(port)}/health", trust_env=False)
            except httpx2.TransportError:
                time.sleep(0.02)
            else:
                return
        raise TimeoutError(f"no server on {port}")


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    made = Servers(3)
    await asyncio.gather(*(made.start(port) for port in made.ports))
    yield made
    for port in list(made.processes):
        made.kill(port)


@asynccontextmanager
async def opened(servers: Servers) -> AsyncIterator[Gateway]:
    async with Gateway(parse(servers.config(), {})) as gateway:
        await until(gateway, lambda found: all(r.capacity == CAPACITY for r in found))
        yield gateway


async def until(gateway: Gateway, holds, seconds: float = 30) -> None:
    """Wait until something holds of the pool's replicas."""
    begun = time.monotonic()
    while not holds(gateway.replicas("pool")):
        if time.monotonic() - begun > seconds:
            raise TimeoutError(str(gateway.replicas("pool")))
        await asyncio.sleep(0.02)


class Witness:
    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()

    def sending(self, number: int) -> None:
        pass

    def ended(self, attempt: AttemptReport) -> None:
        self.outcomes[attempt.outcome] += 1


async def asked(gateway: Gateway, number: int, witness: Witness | None = None) -> str:
    words = f"質問{number}"
    question = ChatRequest(endpoint="pool", messages=(Message(role="user", content=words),))
    completion = await gateway.ask(question, observer=witness)
    port, text = completion.text.split(": ")
    assert text == words
    return port


async def many(gateway: Gateway, size: int, witness: Witness | None = None) -> Counter[str]:
    return Counter(await asyncio.gather(*(asked(gateway, n, witness) for n in range(size))))


async def test_calls_are_shared_out_and_no_server_is_asked_for_more_than_it_takes(servers):
    took: list[float] = []
    async with opened(servers) as gateway:
        # Slowness of ours is there every time; that of a busy machine is not.
        while len(took) < TRIES and min(took, default=math.inf) > LONGEST:
            witness = Witness()
            begun = time.monotonic()
            shares = await many(gateway, 240, witness)
            took.append(time.monotonic() - begun)
            assert witness.outcomes == {"ok": 240}
            assert min(shares.values()) >= 60
        assert {r.serves for r in gateway.replicas("pool")} == {"qwen"}
    for port in servers.ports:
        found = servers.stats(port)
        assert (found["refused"], found["peak"]) == (0, CAPACITY)
    assert min(took) < LONGEST


async def test_a_killed_server_costs_attempts_but_no_answer_and_works_again_when_it_is_back(
    servers,
):
    victim = servers.ports[1]
    async with opened(servers) as gateway:
        witness = Witness()
        running = asyncio.create_task(many(gateway, 400, witness))
        await asyncio.sleep(0.4)
        servers.kill(victim)
        shares = await running
        assert sum(shares.values()) == 400
        failures = witness.outcomes.total() - 400
        assert 0 < failures <= 3 * CAPACITY
        await until(gateway, lambda found: _of(found, victim).state == "open")
        reason = str(_of(gateway.replicas("pool"), victim).reason)
        assert "connection" in reason
        assert "127.0.0.1" not in reason  # It is told to callers; where it is, its `url` says.
        assert str(victim) not in await many(gateway, 60)

        await servers.start(victim)
        await until(gateway, lambda found: _of(found, victim).state != "open")
        witness = Witness()
        shares = await many(gateway, 240, witness)
        assert shares[str(victim)] >= 40
        assert witness.outcomes == {"ok": 240}


async def test_without_any_server_calls_fail_fast_and_come_back_with_the_servers(servers):
    for port in servers.ports[1:]:
        servers.kill(port)
    (left,) = servers.ports[:1]
    async with Gateway(parse(servers.config(), {})) as gateway:
        assert await asked(gateway, 1) == str(left)
        servers.kill(left)
        with pytest.raises(Unavailable):
            await asyncio.gather(*(asked(gateway, n) for n in range(20)))
        await until(gateway, lambda found: all(r.state == "open" for r in found))
        waiting = asyncio.create_task(asked(gateway, 2))
        await asyncio.sleep(0.2)
        await servers.start(left)
        with_luck = await asyncio.gather(waiting, return_exceptions=True)
        # Its last try may have been the one that finds out whether the server is back.
        assert with_luck[0] == str(left) or isinstance(with_luck[0], Unavailable)
        await until(gateway, lambda found: _of(found, left).state != "open")
        assert await asked(gateway, 3) == str(left)


async def test_servers_that_join_and_leave_by_a_reload_take_their_calls_along(servers):
    async with opened(servers) as gateway:
        running = asyncio.create_task(many(gateway, 200))
        await asyncio.sleep(0.1)
        gone = servers.ports.pop()
        gateway.replace(parse(servers.config(), {}))
        assert len(gateway.replicas("pool")) == 2
        assert all(r.capacity == CAPACITY for r in gateway.replicas("pool"))
        assert sum((await running).values()) == 200
        assert str(gone) not in await many(gateway, 50)
        servers.ports.append(gone)
        gateway.replace(parse(servers.config(), {}))
        await until(gateway, lambda found: all(r.capacity == CAPACITY for r in found))
        assert (await many(gateway, 120))[str(gone)] >= 20
        assert [r.in_flight for r in gateway.replicas("pool")] == [0, 0, 0]


def _of(found: list[ReplicaStatus], port: int) -> ReplicaStatus:
    return next(r for r in found if r.url is not None and r.url.endswith(str(port)))
