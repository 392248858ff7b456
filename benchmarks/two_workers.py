"""Two worker processes against one, where the provider is not the bound.

    python benchmarks/two_workers.py [--rows 5000] [--runs 3]

The upstream answers at once and runs on the same machine: on two cores it and Postgres take their
share, so this needs four cores to say what it is meant to say; it prints how many there are.
"""

import argparse
import os
import statistics
import time

from _stack import MODELS, figure, lines, questions, stack


def rate(n_rows: int, workers: int, runs: int) -> float:
    cells = n_rows * len(MODELS)
    with stack(latency_ms=0, in_flight=400, workers=workers) as running:
        dataset = running.upload("two", lines(iter(questions(n_rows))))
        running.wait(running.submit(dataset))
        rates = []
        for _ in range(runs):
            began = time.perf_counter()
            running.wait(running.submit(dataset))
            rates.append(cells / (time.perf_counter() - began))
    print(f"{workers} worker processes: {statistics.median(rates):.0f} cells/s")
    return statistics.median(rates)


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=5000)
    options.add_argument("--runs", type=int, default=3)
    given = options.parse_args()
    one, two = (rate(given.rows, workers, given.runs) for workers in (1, 2))
    times, cores = two / one, os.cpu_count()
    figure(f"two workers against one ({cores} cores)", times, least=1.8)


if __name__ == "__main__":
    main()
