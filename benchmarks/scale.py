"""A job of many cells: memory, throughput, and how fast it can be looked at.

Samples once a second: resident memory of the API and the workers, cells done, and how long the
job's status takes; at the end the first page of cells and the comparison, each asked 20 times.
Writes all of it as JSON.

    python benchmarks/scale.py [--cells 50000] [--workers 1] [--latency-ms 0] [--json FILE]
    python benchmarks/scale.py --cells 1000000 --workers 2        takes about ten minutes
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from _stack import Stack, figure, lines, stack
from _upstream import answer

BARS = " ▁▂▃▄▅▆▇█"


def rows(n: int) -> Iterator[dict[str, str]]:
    for i in range(n):
        text = f"質問{i}: " + "この文の長さはおよそ百文字です。" * 4
        yield {"q": text, "expected": answer(text) if i % 3 else "?"}


def plot(title: str, values: list[float], unit: str) -> None:
    width = max(1, len(values) // 60)
    means = [statistics.mean(values[i : i + width]) for i in range(0, len(values), width)]
    top = max(means) or 1
    bar = "".join(BARS[round(value / top * (len(BARS) - 1))] for value in means)
    print(f"{title:>10} |{bar}| {min(values):.0f} to {max(values):.0f} {unit}")


def p95(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(0.95 * len(values)))]


def timed(ask: Callable[[], object], times: int = 20) -> list[float]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - began) * 1e3)
    return taken


def watch(running: Stack, job_id: str) -> list[dict]:
    samples: list[dict] = []
    began = time.perf_counter()
    while True:
        asked = time.perf_counter()
        job = running.job(job_id)
        now = time.perf_counter()
        rss = {k: v for k, v in running.rss().items() if k == "api" or k.startswith("worker")}
        samples.append(
            {"at": now - began, "done": job["counts"]["done"], "status_ms": (now - asked) * 1e3,
             "rss_mb": rss}
        )  # fmt: skip
        if job["state"] not in {"queued", "running"}:
            print(f"{job['state']}: {job['counts']['ok']} ok, {job['calls']} calls")
            return samples
        time.sleep(1)


def rate(samples: list[dict], low: float, high: float) -> float:
    """Cells per second between two shares of the cells."""
    total = samples[-1]["done"]
    inside = [s for s in samples if low * total <= s["done"] <= high * total] or samples[:1]
    if inside[0] is inside[-1]:
        return float("nan")
    return (inside[-1]["done"] - inside[0]["done"]) / (inside[-1]["at"] - inside[0]["at"])


def report(running: Stack, job_id: str, samples: list[dict], cells: int) -> dict[str, float]:
    tenths = [rate(samples, n / 10, (n + 1) / 10) for n in range(10)]
    print("cells/s of each tenth:", " ".join(f"{value:.0f}" for value in tenths))
    most = {name: max(s["rss_mb"][name] for s in samples) for name in samples[0]["rss_mb"]}
    for name in most:
        plot(name, [s["rss_mb"][name] for s in samples], "MB")
    plot("status", [s["status_ms"] for s in samples], "ms")
    api = running.api
    page = p95(timed(lambda: running.http.get(f"{api}/jobs/{job_id}/cells?limit=50")))
    failed = p95(
        timed(lambda: running.http.get(f"{api}/jobs/{job_id}/cells?limit=50&outcome=timeout"))
    )
    compared = p95(timed(lambda: running.http.get(f"{api}/comparisons?jobs={job_id}")))
    status = p95([s["status_ms"] for s in samples])
    what = f"{cells} cells"
    for name, value in most.items():
        figure(f"most RSS of {name}, MB ({what})", value, most=300)
    kept = tenths[-1] / tenths[0]
    figure(f"last tenth against the first ({what})", kept, least=0.9)
    figure(f"status p95, ms ({what})", status, most=50)
    figure(f"first page of cells p95, ms ({what})", page, most=200)
    figure(f"first page of an outcome nobody had, ms ({what})", failed, most=200)
    figure(f"comparison p95, ms ({what})", compared, most=200)
    overall = cells / samples[-1]["at"]
    figure(f"cells/s over all ({what})", overall)
    return {"page_ms": page, "comparison_ms": compared, "status_ms": status, "rate": overall}


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--cells", type=int, default=50_000)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--latency-ms", type=float, default=0)
    options.add_argument("--in-flight", type=int, default=400)
    options.add_argument("--json", type=Path, default=Path("build/scale.json"))
    given = options.parse_args()
    with stack(
        latency_ms=given.latency_ms, in_flight=given.in_flight, workers=given.workers
    ) as running:
        dataset = running.upload("scale", lines(rows(given.cells // 2)))
        job_id = running.submit(dataset)
        samples = watch(running, job_id)
        figures = report(running, job_id, samples, given.cells)
    kept = {"cells": given.cells, "samples": samples, "figures": figures}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(kept), encoding="utf-8")
    print(f"samples: {given.json}")


if __name__ == "__main__":
    main()
