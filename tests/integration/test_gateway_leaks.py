"""Storms of calls, cancellations and reloads over a pool with dead servers leave nothing behind."""

import asyncio
import os
from random import Random
from typing import Any

from gateway.client import Gateway
from gateway.config import parse
from gateway.errors import GatewayError
from tests.support.slow_model import slow_model

CONFIG = """
endpoints:
  - name: a
    endpoint_type: llm/v1/chat
    model: {{provider: vllm, name: m}}
    urls: [{urls}]
    health: {{interval: 0.2}}
    limits: {{concurrency: 40}}
    retry: {{max_attempts: 2, base: 0.01}}
    fallback: [b]
  - {{name: b, endpoint_type: llm/v1/chat, model: {{provider: echo}}}}
"""


async def one(gateway: Gateway, random: Random) -> str:
    streamed = random.random() < 0.5
    words = "stream 0.05 5" if streamed else "wait 0.02"
    body: dict[str, Any] = {"messages": [{"role": "user", "content": words}]}
    try:
        if not streamed:
            await gateway.chat("a", body)
            return "answered"
        chunks = [chunk async for chunk in gateway.stream_chat("a", body)]
    except GatewayError as error:
        return type(error).__name__
    return "answered" if chunks else "empty"


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def test_storms_leave_no_place_call_task_or_connection_behind():
    random = Random(7)  # noqa: S311
    async with slow_model() as (model, port):
        pools = ([port], [port, 1], [port, 1, 2])
        catalogs = [
            parse(CONFIG.format(urls=", ".join(f"http://127.0.0.1:{p}/v1" for p in ports)), {})
            for ports in pools
        ]
        before = len(asyncio.all_tasks())
        files = open_files()
        async with Gateway(catalogs[0]) as gateway:
            for _ in range(4):
                calls = [asyncio.create_task(one(gateway, random)) for _ in range(200)]
                for _change in range(40):
                    random.choice(calls).cancel()
                    gateway.replace(random.choice(catalogs))
                    await asyncio.sleep(0.01)
                ended = await asyncio.gather(*calls, return_exceptions=True)
                kinds = {e if isinstance(e, str) else type(e).__name__ for e in ended}
                assert kinds <= {"answered", "CancelledError"}
                assert [r.in_flight for r in gateway.replicas("a")] == [0] * len(
                    gateway.replicas("a")
                )
                assert gateway._lines["a"].gate._busy == 0  # type: ignore[attr-defined]

        def more() -> bool:
            return len(asyncio.all_tasks()) > before or open_files() > files + 2

        async with asyncio.timeout(30):
            while model.tasks or more():  # noqa: ASYNC110 - nobody tells us
                await asyncio.sleep(0.02)
        assert model.running == 0
