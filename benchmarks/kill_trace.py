"""Where every answer is when a worker is killed: recorded, in its spool, or still in its sockets.

The worker is stopped in full flight, its sockets are looked at, and then it is killed. An answer
that is in none of the three places was taken by the worker and lost: there may be none. Those in
the sockets are bought again, and are among the calls in flight. Linux only.

    python benchmarks/kill_trace.py [--rows 4000] [--latency-ms 200] [--in-flight 200]
"""

import argparse
import hashlib
import json
import os
import signal
import time
from pathlib import Path

import psycopg
from _stack import MODELS, Stack, figure, lines, questions, stack

from hikaku.jobs import CellRecord
from workers.orphans import Orphan, segments

Cells = set[tuple[int, int]]
"""Endpoint and row of each."""


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rows", type=int, default=4000)
    options.add_argument("--latency-ms", type=float, default=200)
    options.add_argument("--in-flight", type=int, default=200)
    given = options.parse_args()
    asked = questions(given.rows)
    with stack(latency_ms=given.latency_ms, in_flight=given.in_flight) as running:
        job_id = running.submit(running.upload("trace", lines(iter(asked))))
        while running.job(job_id)["counts"]["done"] < given.rows:
            time.sleep(0.02)
        worker, stack_pid = running.pids["worker-1"], running.described["pid"]
        os.kill(worker, signal.SIGSTOP)
        time.sleep(given.latency_ms / 1e3 + 1)  # what it asked is answered, and nobody reads it
        unread = sockets_with_bytes(worker, running.port)
        os.kill(stack_pid, signal.SIGSTOP)  # nobody starts it again, and nobody adopts its spool
        os.kill(worker, signal.SIGKILL)
        time.sleep(0.5)
        answered = answered_cells(running, [one["q"] for one in asked])
        recorded, spooled = recorded_cells(running), spooled_cells(running.folder)
        os.kill(stack_pid, signal.SIGCONT)
    print(
        f"{len(answered)} answered, {len(recorded)} recorded, {len(spooled - recorded)} in the"
        f" spool alone, {unread} in sockets"
    )
    gone = len(answered - recorded - spooled)
    figure("answers in the worker's sockets when it died", unread)
    figure("answers taken by the worker and lost", gone - unread, most=0)


def answered_cells(running: Stack, asked: list[str]) -> Cells:
    def key(model: str, question: str) -> str:
        content = [model, [{"role": "user", "content": question}]]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    cells = {key(m, q): (e, row) for e, m in enumerate(MODELS) for row, q in enumerate(asked)}
    told = running.http.get(f"http://127.0.0.1:{running.port}/answers").json()["keys"]
    return {cells[one] for one in told}


def recorded_cells(running: Stack) -> Cells:
    url = running.described["database_url"].replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        return set(connection.execute("select endpoint, row from cell_result").fetchall())


def spooled_cells(folder: Path) -> Cells:
    found: Cells = set()
    for path in segments(folder / ".hikaku/spool"):
        orphan = Orphan.adopt(path)
        records: tuple[CellRecord, ...] = orphan.read().records if orphan is not None else ()
        found |= {(one.address.endpoint, one.address.row) for one in records}
        if orphan is not None:
            orphan.release()
    return found


def sockets_with_bytes(pid: int, port: int) -> int:
    """Connections of a process to the upstream in which something waits to be read."""
    links = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
    ours = {link[8:-1] for link in links if link.startswith("socket:[")}
    rows = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    return sum(
        inode in ours and int(peer.split(":")[1], 16) == port and int(queues.split(":")[1], 16) > 0
        for _, _, peer, _, queues, _, _, _, _, inode, *_ in rows
    )


if __name__ == "__main__":
    main()
