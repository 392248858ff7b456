"""Two worker processes against one, where the provider is not the bound.

    python benchmarks/two_workers.py [--rows 5000] [--runs 3]
    python benchmarks/two_workers.py --latency-ms 200 --calls-each 200

The first asks an upstream that answers at once, on the same machine: the bound is the processor,
and on two cores the upstream and Postgres take their share, so it needs four cores to say what it
is meant to say; it prints how many there are. The second bounds each process by the calls it may
have in flight, and leaves the machine half idle: what is lost then is lost in sharing the work.
"""

import argparse
import os
import statistics
import time

from _stack import MODELS, figure, lines, questions, stack

UNBOUNDED = 4_000
"""Calls that the endpoints allow at once: more than two processes make."""


def rate(given: argparse.Namespace, workers: int) -> float:
    cells = given.rows * len(MODELS)
    with stack(
        latency_ms=given.latency_ms, in_flight=UNBOUNDED, workers=workers,
        HIKAKU_CELLS_IN_FLIGHT=str(given.calls_each),
    ) as running:  # fmt: skip
        dataset = running.upload("two", lines(iter(questions(given.rows))))
        running.wait(running.submit(dataset))
        rates = []
        for _ in range(given.runs):
            began = time.perf_counter()
            running.wait(running.submit(dataset))
            rates.append(cells / (time.perf_counter() - began))
    print(f"{workers} worker processes: {statistics.median(rates):.0f} cells/s")
    return statistics.median(rates)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=5000)
    options.add_argument("--runs", type=int, default=3)
    options.add_argument("--latency-ms", type=float, default=0)
    options.add_argument("--calls-each", type=int, default=400)
    given = options.parse_args()
    one, two = (rate(given, workers) for workers in (1, 2))
    what = f"{os.cpu_count()} cores, {given.latency_ms:g} ms, {given.calls_each} calls each"
    figure(f"two workers against one ({what})", two / one, least=1.8)


if __name__ == "__main__":
    main()
