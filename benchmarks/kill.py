"""Workers killed half way through a batch: what is bought twice, missing or scored wrongly.

python benchmarks/kill.py [--rows 2000] [--workers 1] [--latency-ms 200]
"""

import argparse
import os
import signal
import time

from _stack import FINAL, MODELS, figure, lines, questions, stack


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=2000)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--latency-ms", type=float, default=200)
    options.add_argument("--in-flight", type=int, default=200)
    given = options.parse_args()
    cells = given.rows * len(MODELS)
    with stack(
        latency_ms=given.latency_ms, in_flight=given.in_flight, workers=given.workers
    ) as running:
        dataset = running.upload("kill", lines(iter(questions(given.rows))))
        job_id = running.submit(dataset)
        while running.job(job_id)["counts"]["done"] < cells / 2:
            time.sleep(0.02)
        killed_at = time.perf_counter()
        for name, pid in running.pids.items():
            if name.startswith("worker"):
                os.kill(pid, signal.SIGKILL)
        time.sleep(given.latency_ms / 1e3 + 0.2)
        calls = running.upstream()["calls"]
        while running.upstream()["calls"] == calls:
            time.sleep(0.01)
        resumed = time.perf_counter() - killed_at
        job = running.job(job_id)
        while job["state"] not in FINAL:
            time.sleep(0.2)
            job = running.job(job_id)
        again = running.upstream()["answered_again"]
        url = f"{running.api}/comparisons?jobs={job_id}"
        columns = running.http.get(url).json()["columns"]
        wrong = sum(round((1 - c["scores"]["exact_match"]["mean"]) * given.rows) for c in columns)
        missing = cells - job["counts"]["ok"]
        print(f"{job['state']}: {job['calls']} calls, {job['repeated_calls']} repeated")
    # The upstream does not answer a connection that is gone: what it counts was sent to somebody.
    figure("full answers bought twice", again, most=0)
    figure(
        "calls repeated: those in flight at the kill", job["calls"] - cells, most=given.in_flight
    )
    figure("missing cells", missing, most=0)
    figure("wrong scores", wrong, most=0)
    figure("first call after the kill, s", resumed, most=10)


if __name__ == "__main__":
    main()
