"""A half-done job of 200,000 cells: how long after a restart of everything the first call is made.

The stack is killed outright, workers first, and started again; time runs from the moment at which
`hikaku up` answers. Killed half way and resumed, no full answer may be bought twice.

    python benchmarks/restart.py [--cells 200000] [--done 0.5]
"""

import argparse
import os
import signal
import time

from _stack import MODELS, figure, lines, stack
from scale import rows


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--cells", type=int, default=200_000)
    options.add_argument("--done", type=float, default=0.5)
    options.add_argument("--latency-ms", type=float, default=20)
    options.add_argument("--in-flight", type=int, default=400)
    given = options.parse_args()
    with stack(latency_ms=given.latency_ms, in_flight=given.in_flight) as running:
        dataset = running.upload("restart", lines(rows(given.cells // len(MODELS))))
        job_id = running.submit(dataset)
        while running.job(job_id)["counts"]["done"] < given.done * given.cells:
            time.sleep(0.2)
        for name, pid in running.pids.items():
            if name.startswith("worker"):
                os.kill(pid, signal.SIGKILL)
        running.hikaku("down")
        time.sleep(1)
        before = running.upstream()
        running.hikaku("up", "--detach", "--without", "models", "--without", "mlflow")
        began = time.perf_counter()
        while running.upstream()["calls"] == before["calls"]:
            time.sleep(0.01)
        first = time.perf_counter() - began
        job = running.wait(job_id, every=1)
        after = running.upstream()
        again = after["answered_again"]
        print(f"{job['state']}: {job['counts']['ok']} ok, {job['calls']} calls")
    what = f"{given.cells} cells, half done"
    figure(f"first call after a restart, s ({what})", first, most=5)
    figure("full answers bought twice", again, most=0)
    figure("calls repeated: those in flight", job["calls"] - given.cells, most=given.in_flight)


if __name__ == "__main__":
    main()
