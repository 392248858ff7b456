"""A batch of 2,000 rows x 2 endpoints at 200 ms, beside a bare script that makes the same calls.

Floor: an aiohttp script with 200 calls in flight that writes JSONL: no retry, no score, no resume.
Ours: everything (API, workers, Postgres, Valkey), with an exact-match scorer. Each as often as
`--runs` says, the first of ours to warm up and not counted; of the others the medians.

    python benchmarks/batch.py [--rows 2000] [--latency-ms 200] [--in-flight 200] [--workers 1]
    python benchmarks/batch.py --latency-ms 0 --rows 5000       cells/s of one worker process
    python benchmarks/batch.py --rows 10000 --in-flight 400     wall against the ideal
"""

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path

import aiohttp
import uvloop
from _stack import MODELS, Stack, figure, lines, questions, stack

POLL_SECONDS = 0.25
"""Between two looks at the job: what somebody who waits for it costs the API is counted too."""


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


def run_floor(running: Stack, rows: list[dict[str, str]], in_flight: int) -> tuple[float, float]:
    began, cpu = time.perf_counter(), time.process_time()
    url = f"http://127.0.0.1:{running.port}"
    uvloop.run(floor(url, rows, in_flight, running.folder / "floor.jsonl"))
    return time.perf_counter() - began, time.process_time() - cpu


def run_ours(running: Stack, dataset: dict, cells: int) -> tuple[float, float]:
    before, began = running.cpu(), time.perf_counter()
    job = running.wait(running.submit(dataset), every=POLL_SECONDS)
    wall = time.perf_counter() - began
    after = running.cpu()
    cpu = {name: after[name] - before[name] for name in before}
    each = {name: round(seconds / cells * 1e3, 3) for name, seconds in cpu.items()}
    print(f"ours:  {wall:6.2f} s wall  {sum(cpu.values()):6.2f} s CPU  ms a call: {each}")
    print(f"       {job['state']}, {job['counts']['ok']} ok of {cells}, {job['calls']} calls")
    return wall, sum(cpu.values())


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--latency-ms", type=float, default=200)
    options.add_argument("--in-flight", type=int, default=200)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--runs", type=int, default=3)
    given = options.parse_args()
    rows, cells = questions(given.rows), 2 * given.rows
    floors, ours = [], []
    with stack(
        latency_ms=given.latency_ms, in_flight=given.in_flight, workers=given.workers
    ) as running:
        dataset = running.upload("batch", lines(iter(rows)))
        run_ours(running, dataset, cells)
        for _ in range(given.runs):
            floors.append(run_floor(running, rows, given.in_flight))
            wall, cpu = floors[-1]
            print(f"floor: {wall:6.2f} s wall  {cpu:6.2f} s CPU  {cpu / cells * 1e3:.3f} ms a call")
            ours.append(run_ours(running, dataset, cells))
    report(given, cells, floors, ours)


def report(
    given: argparse.Namespace,
    cells: int,
    floors: list[tuple[float, float]],
    ours: list[tuple[float, float]],
) -> None:
    wall, cpu = (statistics.median(column) for column in zip(*ours, strict=True))
    floor_wall, floor_cpu = (statistics.median(column) for column in zip(*floors, strict=True))
    what = f"{cells} cells, {given.latency_ms:g} ms, {given.in_flight} in flight"
    times = cpu / floor_cpu
    figure(f"CPU of everything against the floor ({what})", times, most=1)
    if given.latency_ms:
        times = wall / floor_wall
        figure(f"wall against the floor ({what})", times, most=1.15)
        times = wall / (given.latency_ms / 1e3 * cells / given.in_flight)
        figure(f"wall against the ideal ({what})", times, most=1.1)
    else:
        rate = cells / wall
        figure(f"cells/s, {given.workers} worker ({what})", rate, least=5000)


if __name__ == "__main__":
    main()
