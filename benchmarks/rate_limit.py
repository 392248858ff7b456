"""One limit for everybody: a provider that really enforces it, three jobs, chat, four workers.

The provider runs in a process of its own and answers 429 beyond its rate. Three jobs want much
more than it allows, and a person asks through the API every second or so. Printed: how many calls
were answered 429, how much of the allowed rate was used, and how long the person waited.

    python benchmarks/rate_limit.py [--seconds 60] [--variant known|told|patience ...]

`known`: the limit stands in the configuration. `told`: it is learned from x-ratelimit-* headers.
`patience`: nothing but Retry-After tells of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from http import HTTPStatus
from pathlib import Path

import httpx2
import yaml

HERE = Path(__file__).parent
HIKAKU = Path(sys.executable).with_name("hikaku")
PORT = 9767
JOBS = 3
BEGUN = 10
"""Calls after which the workers are taken to have started."""
WARM_UP = 5.0
"""Seconds before the measurement: the processes find their places."""


def gateway_file(folder: Path, rpm: float | None) -> None:
    config = {"api_base": f"http://127.0.0.1:{PORT}/v1", "api_key": "sk-of-the-benchmark"}
    entry = {
        "name": "limited",
        "endpoint_type": "llm/v1/chat",
        "model": {"provider": "openai-compatible", "name": "m", "config": config},
        "limits": {"rpm": rpm} if rpm else {},
        "retry": {"max_attempts": 50},
    }
    (folder / "gateway.yaml").write_text(yaml.safe_dump({"endpoints": [entry]}), "utf-8")


def submit(api: str, number: int, rows: int) -> str:
    lines = b"".join(
        json.dumps({"q": f"{number}-{i} は何色ですか?"}, ensure_ascii=False).encode() + b"\n"
        for i in range(rows)
    )
    headers = {"content-type": "application/x-ndjson"}
    uploaded = httpx2.post(f"{api}/datasets?name=r{number}", content=lines, headers=headers).json()
    spec = {
        "prompt": {"template": "{{q}}"}, "dataset": {"id": uploaded["id"]},
        "endpoints": ["limited"], "scorers": [], "reuse": "off",
    }  # fmt: skip
    job = httpx2.post(f"{api}/jobs", json=spec, timeout=30)
    return str(job.raise_for_status().json()["id"])


def chat(api: str, until: float) -> tuple[list[float], int]:
    """Seconds that each question took, and how many were refused."""
    waited, refused = [], 0
    question = {"endpoint": "limited", "messages": [{"role": "user", "content": "空は何色?"}]}
    while time.monotonic() < until:
        began = time.monotonic()
        answer = httpx2.post(f"{api}/chat", json=question, timeout=60)
        if answer.status_code == HTTPStatus.OK:
            waited.append(time.monotonic() - began)
        else:
            refused += 1
        time.sleep(1.0)
    return sorted(waited), refused


def measure(folder: Path, given: argparse.Namespace, variant: str) -> None:
    described = json.loads((folder / ".hikaku/stack.json").read_text("utf-8"))
    api = described["urls"]["api"] + "/api/v1"
    stats = f"http://127.0.0.1:{PORT}"
    rows = int(given.rpm / 60 * (given.seconds + 60) / JOBS) + 100
    jobs = [submit(api, number, rows) for number in range(JOBS)]
    while httpx2.get(f"{stats}/stats").json()["accepted"] < BEGUN:
        time.sleep(0.2)
    chat(api, time.monotonic() + WARM_UP)
    first = httpx2.get(f"{stats}/stats").json()
    chats = chat(api, time.monotonic() + given.seconds)
    last = httpx2.get(f"{stats}/stats").json()
    for job in jobs:
        httpx2.post(f"{api}/jobs/{job}/cancel", timeout=30)
    report(given, variant, first, last, chats)


def report(given, variant, first, last, chats) -> None:
    waited, refused = chats
    seconds = last["seconds"] - first["seconds"]
    accepted = last["accepted"] - first["accepted"]
    allowed = given.rpm / 60 * seconds
    asked = last["accepted"] + last["refused"]
    print(f"{variant}: {given.rpm:g} rpm, {given.workers} workers, {JOBS} jobs, {seconds:.0f} s")
    print(
        f"  429: {last['refused']} of {asked} calls = {last['refused'] / asked:.2%}"
        f" (from the very first call; {last['refused'] - first['refused']} after the warm-up)"
    )
    print(f"  used: {accepted} of {allowed:.0f} allowed = {accepted / allowed:.1%}")
    if waited:
        half, slow = waited[len(waited) // 2], waited[int(len(waited) * 0.95)]
        print(
            f"  chat: {len(waited)} answers, p50 {half:.2f} s, p95 {slow:.2f} s,"
            f" max {waited[-1]:.2f} s (the provider takes {given.latency_ms / 1000:g} s),"
            f" {refused} refused"
        )


def run(given: argparse.Namespace, variant: str) -> None:
    folder = Path(tempfile.mkdtemp(prefix="hk-bench-", dir="/tmp"))
    gateway_file(folder, given.rpm if variant == "known" else None)
    tell = "patience" if variant == "patience" else "limits"
    provider = subprocess.Popen([
        sys.executable, HERE / "_limited.py", "--port", str(PORT), "--rpm", str(given.rpm),
        "--burst", str(given.burst), "--latency-ms", str(given.latency_ms), "--tell", tell,
    ])  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HIKAKU_", "MLFLOW_"))}
    stack = [HIKAKU, "up", "--detach", "--without", "models", "--without", "mlflow"]
    try:
        subprocess.run(
            [*stack, "--workers", str(given.workers), "--port", str(given.port)],
            cwd=folder, env=environment, check=True, capture_output=True,
        )  # fmt: skip
        measure(folder, given, variant)
    finally:
        subprocess.run([HIKAKU, "down"], cwd=folder, env=environment, check=False)
        provider.terminate()
        provider.wait()


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rpm", type=float, default=600)
    options.add_argument("--burst", type=float, default=1.0, help="seconds of the provider's rate")
    options.add_argument("--latency-ms", type=float, default=200)
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--workers", type=int, default=4)
    options.add_argument("--port", type=int, default=9768)
    options.add_argument("--variant", action="append", choices=["known", "told", "patience"])
    given = options.parse_args()
    for variant in given.variant or ["known", "told", "patience"]:
        run(given, variant)


if __name__ == "__main__":
    main()
