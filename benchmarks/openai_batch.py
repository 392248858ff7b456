"""A file of 50,000 lines through `/v1/files` and `/v1/batches`, and what memory that takes.

Then files beyond the limits: one line too many, and more than 200 MiB; both are refused as at
OpenAI.

    python benchmarks/openai_batch.py [--lines 50000] [--latency-ms 20] [--in-flight 400]
"""

import argparse
import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from _stack import Stack, figure, stack

MOST_LINES, MOST_BYTES = 50_000, 200 * 2**20
WORDS = "この文の長さはおよそ三百文字です。" * 8
KIND = {"content-type": "multipart/form-data; boundary=x"}
FINAL = {"completed", "failed", "expired", "cancelled"}


def lines(n: int) -> Iterator[bytes]:
    for number in range(n):
        message = {"role": "user", "content": f"質問{number}: {WORDS}"}
        line = {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions"}
        body = {"model": "a", "messages": [message]}
        yield json.dumps(line | {"body": body}, ensure_ascii=False).encode() + b"\n"


def form(content: Iterable[bytes]) -> Iterator[bytes]:
    yield b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
    yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    yield from content
    yield b"\r\n--x--\r\n"


@contextmanager
def watched(running: Stack) -> Iterator[dict[str, float]]:
    """The highest memory of each process in MiB, once the block has ended."""
    highest, ended = running.rss(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            for name, now in running.rss().items():
                highest[name] = max(highest.get(name, 0.0), now)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield highest
    finally:
        ended.set()
        thread.join()


class Batches:
    def __init__(self, running: Stack) -> None:
        url = running.api.removesuffix("/api/v1")
        self.http = httpx2.Client(base_url=url, timeout=600)

    def upload(self, content: Iterable[bytes]) -> httpx2.Response:
        return self.http.post("/v1/files", content=form(content), headers=KIND)

    def run(self, file_id: str) -> dict[str, Any]:
        wanted = {
            "input_file_id": file_id, "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
        }  # fmt: skip
        batch = self.http.post("/v1/batches", json=wanted).raise_for_status().json()
        while batch["status"] not in FINAL:
            time.sleep(0.2)
            batch = self.http.get(f"/v1/batches/{batch['id']}").json()
        return batch

    def answered(self, file_id: str) -> tuple[int, int]:
        """Lines of a file, and how many ids are in them."""
        ids: set[str] = set()
        n = 0
        with self.http.stream("GET", f"/v1/files/{file_id}/content") as answer:
            for line in answer.iter_lines():
                n += 1
                ids.add(json.loads(line)["custom_id"])
        return n, len(ids)


def through(running: Stack, n: int) -> None:
    batches = Batches(running)
    batches.http.get("/v1/files").raise_for_status()
    before = running.rss()
    with watched(running) as highest:
        began = time.monotonic()
        file = batches.upload(lines(n)).raise_for_status().json()
        uploaded = time.monotonic()
        batch = batches.run(file["id"])
        ended = time.monotonic()
        written, distinct = batches.answered(batch["output_file_id"])
        read = time.monotonic()
    print(f"{batch['status']}, {batch['request_counts']}, file of {file['bytes'] / 2**20:.0f} MiB")
    figure("batch: lines of the output, each id once", min(written, distinct), least=n)
    figure("batch: calls for each request", running.upstream()["calls"] / n, most=1)
    figure("batch: seconds to send the file", uploaded - began)
    figure("batch: seconds until it has ended", ended - uploaded)
    figure("batch: seconds to read the output", read - ended)
    for name in sorted(highest):
        if name.startswith(("api", "worker", "scheduler")):
            print(f"{name}: {before.get(name, 0):.0f} MiB before, {highest[name]:.0f} at most")
    figure("batch: MiB more in the API", highest["api"] - before["api"], most=64)


def refused(running: Stack) -> None:
    batches = Batches(running)
    file = batches.upload(lines(MOST_LINES + 1)).raise_for_status().json()
    batch = batches.run(file["id"])
    print(f"{MOST_LINES + 1} lines: {batch['status']}, {batch['errors']['data'][0]}")
    piece = b"x" * 2**20 + b"\n"
    answer = batches.upload(piece for _ in range(MOST_BYTES // 2**20 + 1))
    print(f"over 200 MiB: {answer.status_code} {answer.text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=MOST_LINES)
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--in-flight", type=int, default=400)
    given = parser.parse_args()
    with stack(latency_ms=given.latency_ms, in_flight=given.in_flight) as running:
        through(running, given.lines)
        refused(running)


if __name__ == "__main__":
    main()
