"""What the gate costs: CPU of the calling process per call, and requests to Valkey.

python benchmarks/limits_cost.py [--calls 40000]
"""

import argparse
import sys
import time
from pathlib import Path

import uvloop
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from gateway.config import parse
from gateway.errors import Outcome
from gateway.shared import Hub, SharedGates
from gateway.shared import terms as shared_terms
from tests.support.services import running_valkey

PLENTY = 60_000_000
CASES: tuple[tuple[str, dict[str, float], int], ...] = (
    ("no limit", {}, 64),
    ("places", {"concurrency": 64}, 64),
    ("calls, blocks of 64", {"rpm": PLENTY}, 64),
    ("calls, blocks of 32", {"rpm": PLENTY}, 32),
    ("calls, blocks of 1", {"rpm": PLENTY}, 1),
    ("calls and tokens, blocks of 64", {"rpm": PLENTY, "tpm": PLENTY * 100_000}, 64),
)


async def measure(url: str, name: str, limits: dict[str, float], block: int, calls: int) -> None:
    shared_terms.MOST_BLOCK = block
    entry = {
        "name": "a", "endpoint_type": "llm/v1/chat", "limits": limits,
        "model": {"provider": "echo", "name": "m"},
    }  # fmt: skip
    endpoint = parse(yaml.safe_dump({"endpoints": [entry]}), {}).endpoints["a"]
    async with Hub(url, prefix=f"bench-{name}:") as hub:
        gate = SharedGates(hub, job=True).of(endpoint)
        if (waiting := gate.enter(0)) is not None:
            await waiting
        gate.leave(0, None, Outcome.OK)
        asked, began = hub.requests, time.process_time()
        for _ in range(calls):
            if (waiting := gate.enter(100)) is not None:
                await waiting
            gate.leave(100, 90, Outcome.OK)
        micros = (time.process_time() - began) / calls * 1e6
        print(f"{name:32} {micros:7.2f} us a call  {hub.requests - asked:6} requests to Valkey")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--calls", type=int, default=40_000)
    given = options.parse_args()
    with running_valkey() as valkey:
        for name, limits, block in CASES:
            calls = given.calls if block > 1 else given.calls // 10
            uvloop.run(measure(valkey.broker_url, name, limits, block, calls))


if __name__ == "__main__":
    main()
