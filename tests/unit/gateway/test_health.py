"""What probes make of a pool's servers."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway import pools
from gateway.client import Gateway
from gateway.errors import Unavailable
from gateway.http import Reply, WireRequest
from gateway.pools import ReplicaStatus
from tests.support.gateway_wire import ScriptedTransport, catalog, chat_reply, reply

POOL = """endpoints:
  - name: pool
    endpoint_type: llm/v1/chat
    model: {provider: vllm, name: m}
    urls: ["http://busy:1", "http://free:1"]
    health: {interval: 0.01, failures: 2}
"""
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}


class Servers:
    """Two servers; `busy` answers its probes as it is told."""

    def __init__(self, probed: Callable[[], Reply]) -> None:
        self.probed = probed
        self.probes = 0
        self.transport = ScriptedTransport(self.answer)

    def answer(self, request: WireRequest) -> Reply:
        if request.method == "POST":
            return chat_reply(request.url.split("/")[2])
        if "busy" not in request.url or not request.url.endswith("/health"):
            return reply(200, {})
        self.probes += 1
        return self.probed()

    async def probe(self, times: int) -> None:
        """Wait until so many more probes have been answered, and judged."""
        until = self.probes + times + 1
        while self.probes < until:  # noqa: ASYNC110 - the watch tells nobody
            await asyncio.sleep(0.001)


def busy(gateway: Gateway) -> ReplicaStatus:
    return gateway.replicas("pool")[0]


async def answerers(gateway: Gateway) -> set[str]:
    return {(await gateway.chat("pool", BODY)).text for _ in range(4)}


@pytest.mark.parametrize("status", [429, 498, 529])
async def test_a_server_that_says_it_is_busy_stays_in_the_pool(status, monkeypatch):
    monkeypatch.setattr(pools, "REST", 60.0)  # No pause of the machine is as long.
    servers = Servers(lambda: reply(status, {"error": "Model is overloaded"}))
    async with Gateway(catalog(POOL), servers.transport) as gateway:
        await servers.probe(5)
        assert busy(gateway).state == "closed"
        assert await answerers(gateway) == {"free:1"}  # It is passed over while it rests.


async def test_a_busy_server_is_asked_again_when_its_rest_is_over():
    servers = Servers(lambda: reply(429, {}, retry_after_ms="0.001"))
    async with Gateway(catalog(POOL), servers.transport) as gateway:
        await servers.probe(5)
        assert await answerers(gateway) == {"busy:1", "free:1"}


async def test_a_server_that_is_ill_leaves_the_pool_and_one_that_is_busy_again_is_back():
    servers = Servers(lambda: reply(503, {"error": "unhealthy"}))
    async with Gateway(catalog(POOL), servers.transport) as gateway:
        await servers.probe(3)
        assert (busy(gateway).state, busy(gateway).reason) == ("open", "/health answered 503")
        assert await answerers(gateway) == {"free:1"}
        servers.probed = lambda: reply(429, {}, retry_after_ms="0.001")
        await servers.probe(2)
        assert busy(gateway).state == "half_open"
        assert await answerers(gateway) == {"busy:1", "free:1"}
        assert busy(gateway).state == "closed"


async def test_a_probe_that_gets_no_answer_counts_as_failed():
    def gone() -> Reply:
        raise Unavailable("ConnectionRefusedError")

    servers = Servers(gone)
    async with Gateway(catalog(POOL), servers.transport) as gateway:
        await servers.probe(3)
        assert (busy(gateway).state, busy(gateway).reason) == ("open", "ConnectionRefusedError")
