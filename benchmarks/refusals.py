"""A vendor that refuses everything: how many 429 a second pass through, and what stays behind.

    python benchmarks/refusals.py [--seconds 60] [--clients 256] [--workers 1]

The vendor, the gateway and the clients share the machine. Printed: refusals a second that reached
the clients, the memory of the gateway at the beginning and at the end, and its open files.
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import uvloop
from _stack import figure

HERE = Path(__file__).parent
CONFIG = """
endpoints:
  - name: m
    endpoint_type: llm/v1/chat
    model: {{provider: openai-compatible, name: m, config: {{api_base: 'http://127.0.0.1:{port}/v1'}}}}
    retry: {{max_attempts: 1}}
    health: {{path: null}}
"""
REFUSAL = (
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 0\r\ncontent-type: application/json\r\n"
    b'content-length: 42\r\n\r\n{"error": {"message": "too many of them"}}'
)


class Refusing(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received = transport, b""

    def data_received(self, data):
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(self.received) < end + 4 + length:
                return
            self.received = self.received[end + 4 + length :]
            self.transport.write(REFUSAL)


async def refuse(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Refusing, "127.0.0.1", port)
    await server.serve_forever()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(*command: object, port: int):
    process = subprocess.Popen([sys.executable, *map(str, command)], cwd=HERE.parent)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def held(gateway: psutil.Process) -> tuple[float, int]:
    """MB and open files, of all its processes."""
    family = [gateway, *gateway.children(recursive=True)]
    return sum(p.memory_info().rss for p in family) / 2**20, sum(p.num_fds() for p in family)


def load(port: int, clients: int, seconds: float) -> dict:
    url = f"http://127.0.0.1:{port}/v1/chat/completions"
    command = [sys.executable, HERE / "_load.py", "--url", url]
    command += ["--clients", str(clients), "--seconds", str(seconds)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def measure(given: argparse.Namespace) -> None:
    vendor, port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.yaml"
        config.write_text(CONFIG.format(port=vendor), "utf-8")
        command = ["-m", "gateway.main", "--config-path", config, "--port", port]
        with (
            running(__file__, "--refuse", vendor, port=vendor),
            running(*command, "--workers", given.workers, port=port) as gateway,
        ):
            load(port, given.clients, 3)
            time.sleep(1)
            mb, files = held(gateway)
            found = load(port, given.clients, given.seconds)
            time.sleep(1)
            mb_after, files_after = held(gateway)
    strange = {status: n for status, n in found["statuses"].items() if status != "429"}
    what = f"{given.clients} clients, {given.seconds:g} s, {given.workers} process"
    figure(f"429 a second passed on ({what})", found["requests"] / found["seconds"], least=10_000)
    figure("answers that were not 429, or none", sum(strange.values()) + found["broken"], most=0)
    figure("RSS grown, MB", mb_after - mb, most=5)
    figure("open files more than before", files_after - files, most=0)
    print(f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms; {mb:.0f} to {mb_after:.0f} MB")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=60)
    options.add_argument("--clients", type=int, default=256)
    options.add_argument("--workers", type=int, default=1)
    options.add_argument("--refuse", type=int, help="be the vendor, on this port")
    given = options.parse_args()
    if given.refuse:
        uvloop.run(refuse(given.refuse))
    else:
        measure(given)


if __name__ == "__main__":
    main()
