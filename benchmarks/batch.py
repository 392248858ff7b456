"""A batch of 2,000 rows x 2 endpoints at 200 ms, beside a bare script that makes the same calls.

Floor: an aiohttp script with 200 calls in flight that writes JSONL: no retry, no score, no resume.
Ours: everything (API, workers, Postgres, Valkey), with an exact-match scorer.

    python benchmarks/batch.py [--rows 2000] [--latency-ms 200] [--in-flight 200] [--workers 1]
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
import httpx2
import psutil
import uvloop
import yaml
from _upstream import answer

HERE = Path(__file__).parent
HIKAKU = Path(sys.executable).with_name("hikaku")
MODELS = ("a", "b")


def questions(n: int) -> list[dict[str, str]]:
    asked = [f"質問{i}: " + "この文の長さはおよそ三百文字です。" * 8 for i in range(n)]
    return [{"q": text, "expected": answer(text)} for text in asked]


async def floor(url: str, rows: list[dict[str, str]], in_flight: int, out: Path) -> None:
    gate = asyncio.Semaphore(in_flight)
    connector = aiohttp.TCPConnector(limit=in_flight)
    with out.open("w", encoding="utf-8") as file:
        async with aiohttp.ClientSession(connector=connector) as session:

            async def one(model: str, row: dict[str, str]) -> None:
                body = {"model": model, "messages": [{"role": "user", "content": row["q"]}]}
                async with gate, session.post(url + "/v1/chat/completions", json=body) as response:
                    answered = await response.json()
                text = answered["choices"][0]["message"]["content"]
                line = {"model": model, "q": row["q"], "answer": text}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

            await asyncio.gather(*[one(model, row) for model in MODELS for row in rows])


def run_floor(
    url: str, rows: list[dict[str, str]], in_flight: int, folder: Path
) -> tuple[float, float]:
    began, cpu = time.perf_counter(), time.process_time()
    uvloop.run(floor(url, rows, in_flight, folder / "floor.jsonl"))
    return time.perf_counter() - began, time.process_time() - cpu


def cpu_of(pids: dict[str, int]) -> dict[str, float]:
    used = {}
    for name, pid in pids.items():
        process = psutil.Process(pid)
        times = process.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in process.children(recursive=True):
            mine = child.cpu_times()
            total += mine.user + mine.system
        used[name] = total
    return used


def gateway_file(folder: Path, url: str, concurrency: int) -> None:
    endpoints = [
        {
            "name": model,
            "endpoint_type": "llm/v1/chat",
            "model": {
                "provider": "openai-compatible",
                "name": model,
                "config": {"api_base": url + "/v1"},
            },
            "limits": {"concurrency": concurrency},
        }
        for model in MODELS
    ]
    (folder / "gateway.yaml").write_text(yaml.safe_dump({"endpoints": endpoints}), "utf-8")


def run_ours(folder: Path, rows: list[dict[str, str]], workers: int) -> dict[str, object]:
    described = json.loads((folder / ".hikaku/stack.json").read_text("utf-8"))
    api = described["urls"]["api"] + "/api/v1"
    pids = {name: one["pid"] for name, one in described["processes"].items() if one["pid"]}
    body = b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
    headers = {"content-type": "application/x-ndjson"}
    uploaded = httpx2.post(f"{api}/datasets?name=b", content=body, headers=headers).json()
    before, began = cpu_of(pids), time.perf_counter()
    spec = {
        "prompt": {"template": "{{q}}"},
        "dataset": {"id": uploaded["id"]},
        "endpoints": list(MODELS),
        "scorers": [{"type": "exact_match"}],
        "reuse": "off",
    }
    job = httpx2.post(f"{api}/jobs", json=spec, timeout=30).json()
    while job["state"] not in {"completed", "completed_with_errors", "failed"}:
        time.sleep(0.1)
        job = httpx2.get(f"{api}/jobs/{job['id']}", timeout=30).json()
    wall = time.perf_counter() - began
    after = cpu_of(pids)
    cpu = {name: round(after[name] - before[name], 2) for name in pids}
    rss = {n: psutil.Process(p).memory_info().rss // 2**20 for n, p in pids.items()}
    return {"wall": wall, "cpu": cpu, "rss": rss, "job": job, "workers": workers}


def report(cells: int, wall: float, cpu: float, ours: dict[str, object]) -> None:
    job, total = ours["job"], sum(ours["cpu"].values())
    print(f"floor: {wall:6.2f} s wall  {cpu:6.2f} s CPU  {cpu / cells * 1e3:.3f} ms a call")
    print(
        f"ours:  {ours['wall']:6.2f} s wall  {total:6.2f} s CPU  {total / cells * 1e3:.3f} ms"
        f" a call  = {ours['wall'] / wall:.2f} x wall, {total / cpu:.2f} x CPU"
    )
    print(f"       {cells / ours['wall']:.0f} cells/s  CPU {ours['cpu']}  RSS {ours['rss']} MB")
    print(f"       {job['state']}, {job['counts']['ok']} ok of {cells}, {job['calls']} calls")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--latency-ms", type=float, default=200)
    options.add_argument("--in-flight", type=int, default=200)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--runs", type=int, default=3)
    given = options.parse_args()
    rows = questions(given.rows)
    cells = 2 * given.rows
    port = 9765
    latency = str(given.latency_ms)
    command = [sys.executable, HERE / "_upstream.py", "--port", str(port), "--latency-ms", latency]
    upstream = subprocess.Popen(command)
    folder = Path(tempfile.mkdtemp(prefix="hk-bench-", dir="/tmp"))
    url = f"http://127.0.0.1:{port}"
    gateway_file(folder, url, given.in_flight // 2 // given.workers)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HIKAKU_", "MLFLOW_"))}
    stack = [HIKAKU, "up", "--detach", "--without", "models", "--without", "mlflow"]
    try:
        subprocess.run(
            [*stack, "--workers", str(given.workers)],
            cwd=folder, env=environment, check=True, capture_output=True,
        )  # fmt: skip
        for _ in range(given.runs):
            wall, cpu = run_floor(url, rows, given.in_flight, folder)
            ours = run_ours(folder, rows, given.workers)
            report(cells, wall, cpu, ours)
    finally:
        subprocess.run([HIKAKU, "down"], cwd=folder, env=environment, check=False)
        upstream.terminate()


if __name__ == "__main__":
    main()
