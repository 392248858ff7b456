"""The program itself, in a process of its own, on a real Postgres."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import psutil
import pytest
from sqlalchemy import func, select

from hikaku.storage.tables import DatasetRow
from tests.support.gateway_server import free_port

ROOT = Path(__file__).parents[3]
CONFIG = """
endpoints:
  - name: echo
    endpoint_type: llm/v1/chat
    model: {provider: echo, name: parrot}
"""
MIB = 2**20


@dataclass
class Served:
    url: str
    process: subprocess.Popen[bytes]
    log: Path


@contextmanager
def serving(directory: Path, database_url: str, **environment: str) -> Iterator[Served]:
    config, log, port = directory / "gateway.yaml", directory / "api.log", free_port()
    config.write_text(CONFIG, encoding="utf-8")
    variables = {
        "HIKAKU_DATABASE_URL": database_url,
        "HIKAKU_REDIS_URL": "redis+socket:///nowhere/redis.sock",
        "HIKAKU_GATEWAY_CONFIG": str(config),
        "HIKAKU_PORT": str(port),
    }
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.main"],
            cwd=ROOT,
            env=os.environ | variables | environment,
            stdout=written,
            stderr=written,
        )
    served = Served(f"http://127.0.0.1:{port}", process, log)
    try:
        until_ready(served)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def until_ready(served: Served) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if served.process.poll() is not None:
            break
        try:
            if httpx2.get(f"{served.url}/ready", timeout=5).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.1)
    raise AssertionError(served.log.read_text(encoding="utf-8"))


@pytest.fixture
def served(tmp_path, hikaku_url):
    with serving(tmp_path, hikaku_url) as server:
        yield server


def memory(served: Served) -> int:
    return int(psutil.Process(served.process.pid).memory_info().rss)


@contextmanager
def watching_memory(served: Served) -> Iterator[list[int]]:
    """Give a list that holds the highest memory seen, once the block has ended."""
    seen, ended = [memory(served)], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            seen[0] = max(seen[0], memory(served))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def rows(n, width=900):
    """Give `n` rows of JSON Lines, about `width` bytes each, in pieces as a network cuts them."""
    filler = "あ" * (width // 3)
    waiting = bytearray()
    for number in range(n):
        row = {"id": f"r{number}", "question": filler, "expected": str(number)}
        waiting += json.dumps(row, ensure_ascii=False).encode() + b"\n"
        while len(waiting) > 40_000:
            yield bytes(waiting[:40_000])
            del waiting[:40_000]
    yield bytes(waiting)


def upload(served, content, **options):
    headers = {"content-type": "application/x-ndjson"}
    return httpx2.post(
        f"{served.url}/api/v1/datasets", content=content, headers=headers, timeout=300, **options
    )


def test_a_hundred_thousand_rows_pass_through_flat_memory(served, sessions):
    assert upload(served, rows(500)).status_code == 201  # everything is loaded by now
    before = memory(served)
    used = psutil.Process(served.process.pid).cpu_times()
    began = time.monotonic()
    with watching_memory(served) as highest:
        answer = upload(served, rows(100_000), params={"name": "large"})
    seconds = time.monotonic() - began
    cpu = psutil.Process(served.process.pid).cpu_times()
    assert answer.status_code == 201, answer.text
    assert answer.json()["rows"] == 100_000
    growth = (highest[0] - before) / MIB
    cpu_seconds = cpu.user + cpu.system - used.user - used.system
    told = f"{seconds:.1f} s, {cpu_seconds:.1f} s of CPU, {growth:.1f} MiB more memory"
    sys.stdout.write(f"100,000 rows: {told}\n")
    assert growth < 100
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(DatasetRow)) == 100_500


def test_an_upload_that_is_cut_off_stores_nothing(served, sessions):
    def broken():
        yield from rows(2_000)
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        upload(served, broken())
    # The transaction ends when the server notices; another upload goes on undisturbed.
    assert upload(served, rows(1)).status_code == 201
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with sessions() as session:
            if session.scalar(select(func.count()).select_from(DatasetRow)) == 1:
                break
        time.sleep(0.1)
    else:
        raise AssertionError("rows of a broken upload are in the table")
    assert "Traceback" not in served.log.read_text(encoding="utf-8")


def test_an_upload_refused_early_is_answered_while_it_is_still_being_sent(served):
    def content():
        yield b"{broken\n"
        yield from rows(20_000)

    answer = upload(served, content())
    assert (answer.status_code, answer.json()["errors"][0]["pointer"][:6]) == (422, "line 1")


def test_the_loop_stays_free_while_an_upload_runs(served):
    waits: list[float] = []

    async def ask_meanwhile() -> None:
        async with httpx2.AsyncClient(base_url=served.url, timeout=60) as client:
            task = asyncio.create_task(asyncio.to_thread(upload, served, list(rows(20_000))))
            while not task.done():
                began = time.perf_counter()
                assert (await client.get("/health")).status_code == 200
                waits.append(time.perf_counter() - began)
                await asyncio.sleep(0.01)
            assert (await task).status_code == 201

    asyncio.run(ask_meanwhile())
    waits.sort()
    assert len(waits) > 5
    assert waits[len(waits) // 2] < 0.2, waits


SPEC = {
    "prompt": {"template": "{{object}}は何色ですか?"},
    "rows": [{"object": "りんご"}],
    "endpoints": ["echo"],
}


def test_a_broker_that_is_away_costs_no_job(served):
    began = time.monotonic()
    answer = httpx2.post(f"{served.url}/api/v1/jobs", json=SPEC, timeout=60)
    assert answer.status_code == 201, answer.text
    assert time.monotonic() - began < 20


def test_a_stream_ends_with_the_job_and_shows_what_happens_meanwhile(served):
    job = httpx2.post(f"{served.url}/api/v1/jobs", json=SPEC, timeout=60).json()["id"]
    path = f"{served.url}/api/v1/jobs/{job}"
    told: list[str] = []
    with httpx2.stream("GET", f"{path}/events", timeout=30) as stream:
        for line in stream.iter_lines():
            if line == "event: state" and line not in told:
                httpx2.post(f"{path}/cancel", timeout=30)
            told.append(line)
    happened = [json.loads(line[6:]) for line in told if line.startswith("data: ")]
    states = [data["state"] for data in happened if data.keys() >= {"state", "at"}]
    assert (states[0], states[-1]) == ("queued", "cancelled")


def test_an_open_stream_does_not_hold_up_the_end(tmp_path, hikaku_url):
    with serving(tmp_path, hikaku_url) as served:
        job = httpx2.post(f"{served.url}/api/v1/jobs", json=SPEC, timeout=60).json()["id"]
        with httpx2.stream("GET", f"{served.url}/api/v1/jobs/{job}/events", timeout=30) as stream:
            lines = stream.iter_lines()
            next(lines)
            began = time.monotonic()
            served.process.send_signal(signal.SIGTERM)
            list(lines)
            assert time.monotonic() - began < 8  # Those that have to be cut off are after ten.
        assert served.process.wait(30) in {0, -signal.SIGTERM}  # uvicorn ends by the signal


def test_a_body_that_is_too_large_is_answered_as_a_problem(served):
    def content():
        for _ in range(200):
            yield b" " * 100_000

    headers = {"content-type": "application/json"}
    answer = httpx2.post(
        f"{served.url}/api/v1/jobs", content=content(), headers=headers, timeout=60
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_an_address_others_reach_is_refused_without_a_key(hikaku_url):
    variables = os.environ | {
        "HIKAKU_DATABASE_URL": hikaku_url,
        "HIKAKU_HOST": "0.0.0.0",  # noqa: S104
        "HIKAKU_PORT": "0",
    }
    variables.pop("HIKAKU_API_KEY", None)
    ended = subprocess.run(
        [sys.executable, "-m", "api.main"],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert b"HIKAKU_API_KEY" in ended.stderr
    assert b"Traceback" not in ended.stderr


def test_every_line_of_the_log_is_json_with_the_request(served):
    path = "/api/v1/jobs/%0A%1B%5B31m"
    assert httpx2.get(served.url + path, headers={"x-request-id": "log-1"}).status_code == 404
    line = awaited_line(served.log, request_id="log-1")
    assert (line["event"], line["method"]) == ("request", "GET")


def awaited_line(log: Path, *, request_id: str) -> dict[str, object]:
    """The line of a request; it is written after the answer has gone out."""
    deadline = time.monotonic() + 20
    while True:
        whole = log.read_text(encoding="utf-8").split("\n")[:-1]
        found = [line for line in map(json.loads, whole) if line.get("request_id") == request_id]
        if found:
            line: dict[str, object] = found[0]
            assert len(found) == 1
            return line
        assert time.monotonic() < deadline, f"no line of {request_id} among {len(whole)}"
        time.sleep(0.05)
