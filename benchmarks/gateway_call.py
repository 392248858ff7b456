"""What `Gateway` itself costs per call: CPU over a transport that answers at once.

    python benchmarks/gateway_call.py [--profile]

Nothing of HTTP is in these figures: routing, limits, retry, breaker, records, and the provider's
writing of the request and reading of the answer are.
"""

import asyncio
import cProfile
import pstats
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gateway.client import Gateway
from gateway.config import parse
from gateway.http import Reply, ReplyStream
from gateway.tickets import Ticket
from gateway.usage import Recorder, UsageRecord

CALLS = 10_000
CHUNKS = 100
CONFIG = """
endpoints:
  - {name: plain, endpoint_type: llm/v1/chat, model: {provider: vllm, name: m}}
  - name: limited
    endpoint_type: llm/v1/chat
    model: {provider: vllm, name: m}
    limits: {concurrency: 64, rpm: 60000000, tpm: 60000000000}
  - name: everything
    endpoint_type: llm/v1/chat
    model: {provider: vllm, name: m}
    limits: {concurrency: 64, rpm: 60000000, tpm: 60000000000, per_key: {rpm: 60000000}}
    price: {input_usd_per_million_tokens: 1, output_usd_per_million_tokens: 2}
    budget: {usd: 1000000}
    fallback: [plain]
  - name: pool
    endpoint_type: llm/v1/chat
    model: {provider: vllm, name: m}
    urls: [http://a, http://b, http://c, http://d]
    health: {path: null}
  - name: cached
    endpoint_type: llm/v1/chat
    model: {provider: vllm, name: m}
    cache: {ttl: 60}
"""
BODY = {
    "messages": [{"role": "user", "content": "word " * 300}], "temperature": 0, "max_tokens": 100,
}  # fmt: skip
MESSAGE = {"role": "assistant", "content": "りんご" * 50}
USAGE = {"prompt_tokens": 300, "completion_tokens": 100, "total_tokens": 400}
ANSWER = msgspec.json.encode({
    "id": "x", "model": "m", "usage": USAGE,
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop"}],
})  # fmt: skip


def chunk(*, last: bool) -> bytes:
    choice = {"index": 0, "delta": {"content": "word "}, "finish_reason": "stop" if last else None}
    event = {"id": "x", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


STREAM = [*([chunk(last=False)] * (CHUNKS - 1)), chunk(last=True), b"data: [DONE]\n\n"]


class Instant:
    """Answers at once."""

    async def send(self, _):
        return Reply(status=200, headers={}, body=ANSWER)

    @asynccontextmanager
    async def stream(self, _):
        async def pieces():
            for piece in STREAM:
                yield piece

        yield ReplyStream(status=200, headers={}, chunks=pieces())

    async def close(self):
        pass


class Nowhere:
    """A sink that forgets."""

    async def write(self, records: Sequence[UsageRecord]) -> None:
        pass


async def cost(once: Callable[[], Awaitable[object]], calls: int = CALLS) -> float:
    """CPU microseconds per call; the best of five."""
    best = float("inf")
    for _ in range(5):
        begun = time.process_time()
        for _ in range(calls):
            await once()
        best = min(best, (time.process_time() - begun) / calls)
    return best * 1e6


async def main() -> None:
    recorder = Recorder(Nowhere())
    async with Gateway(parse(CONFIG, {}), Instant(), recorder=recorder) as gateway:
        provider = gateway._lines["plain"].pool.replicas[0].provider  # noqa: SLF001
        print(
            f"{'the provider alone (floor)':32} {await cost(lambda: provider.chat(BODY)):7.1f} us"
        )
        for name in ("plain", "limited", "everything", "pool", "cached"):
            measured = await cost(
                lambda name=name: gateway.chat(name, BODY, ticket=Ticket(caller="k"))
            )
            print(f"{name + ', recorded':32} {measured:7.1f} us")

        async def streamed(open_) -> None:
            async for _ in open_():
                pass

        floor = await cost(lambda: streamed(lambda: provider.stream_chat(BODY)), 200)
        ours = await cost(lambda: streamed(lambda: gateway.stream_chat("plain", BODY)), 200)
        print(f"{'a chunk, the provider alone':32} {floor / CHUNKS:7.2f} us")
        print(f"{'a chunk':32} {ours / CHUNKS:7.2f} us")
        if "--profile" in sys.argv:
            profile = cProfile.Profile()
            profile.enable()
            for _ in range(CALLS):
                await gateway.chat("plain", BODY)
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    asyncio.run(main())
