"""A dataset of 100,000 rows: memory and CPU of the API while it is uploaded.

python benchmarks/upload.py [--rows 100000]
"""

import argparse
import threading
import time

import psutil
from _stack import figure, lines, stack
from scale import rows


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=100_000)
    given = options.parse_args()
    with stack(latency_ms=0, in_flight=2) as running:
        running.upload("warm", lines(rows(1000)))
        content = b"".join(lines(rows(given.rows)))
        pieces = (content[i : i + 65_536] for i in range(0, len(content), 65_536))
        process = psutil.Process(running.pids["api"])
        before, cpu = process.memory_info().rss, process.cpu_times()
        most, done = [before], threading.Event()

        def sample() -> None:
            while not done.is_set():
                most[0] = max(most[0], process.memory_info().rss)
                time.sleep(0.02)

        sampler = threading.Thread(target=sample)
        sampler.start()
        began = time.perf_counter()
        uploaded = running.upload("upload", pieces)
        wall = time.perf_counter() - began
        done.set()
        sampler.join()
        after = process.cpu_times()
    used = after.user + after.system - cpu.user - cpu.system
    print(f"{uploaded['rows']} rows, {len(content) / 2**20:.0f} MB, {wall:.1f} s")
    extra, speed = (most[0] - before) / 2**20, given.rows / used
    what = f"{given.rows} rows"
    figure(f"extra RSS of an upload, MB ({what})", extra, most=100)
    figure(f"rows per second of API CPU ({what})", speed, least=30_000)


if __name__ == "__main__":
    main()
