"""Floods, refusals, silence, deaths, reloads and departures: nothing is lost, nothing stays behind.

Vendor, gateway and clients share one loop, so that every task, connection and file is counted.
`HIKAKU_LOAD=10` makes each of them ten times as long.
"""

import asyncio
import gc
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

import msgspec
import uvicorn
from typing_extensions import override

from gateway.client import Gateway
from gateway.config import Timeouts
from gateway.course import Course
from gateway.http import DirectTransport, WireRequest
from gateway.http.connection import Connection
from gateway.http.incoming import Incoming
from gateway.main import create_app
from gateway.surfaces.watch import Watch
from gateway.tickets import Ticket
from gateway.usage import JsonLines, Recorder
from gateway.watching import ConfigFile, Watcher
from tests.support.slow_model import SlowModel, slow_model

LOAD = float(os.environ.get("HIKAKU_LOAD", "1"))
KEY = "load-key"
PATIENT = Timeouts(total=120, idle=60)
PER_CALL = (Course, Ticket, Incoming, Watch)
"""What there is one of per call."""


@dataclass
class Served:
    url: str
    gateway: Gateway
    transport: DirectTransport
    path: Path

    def request(self, endpoint: str, words: str, *, stream: bool = False) -> WireRequest:
        body = {"model": endpoint, "messages": [{"role": "user", "content": words}]}
        return WireRequest(
            url=f"{self.url}/v1/chat/completions",
            body=msgspec.json.encode(body | ({"stream": True} if stream else {})),
            headers={"content-type": "application/json", "authorization": f"Bearer {KEY}"},
            timeouts=PATIENT,
        )

    async def ask(self, endpoint: str, words: str = "wait 0") -> int:
        return (await self.transport.send(self.request(endpoint, words))).status

    async def stream(self, endpoint: str, words: str) -> int:
        """Chunks that came of a stream that ended well."""
        async with self.transport.stream(self.request(endpoint, words, stream=True)) as reply:
            text = b"".join([piece async for piece in reply.chunks])
        assert text.endswith(b"data: [DONE]\n\n"), (reply.status, text[-300:])
        return text.count(b'"delta"')

    def busy(self) -> int:
        """Calls that have a place at a gate or a server."""
        lines = self.gateway._lines.values()
        gates = sum(line.gate._busy for line in lines)  # type: ignore[attr-defined]
        return gates + sum(r.in_flight for name in self.gateway._lines
                           for r in self.gateway.replicas(name))  # fmt: skip


def endpoint(name: str, *ports: int, more: str = "") -> str:
    urls = ", ".join(f"http://127.0.0.1:{port}/v1" for port in ports)
    model = "model: {provider: vllm, name: m}"
    return f"  - {{name: {name}, endpoint_type: llm/v1/chat, {model}, urls: [{urls}], {more}}}\n"


def write(path: Path, entries: str) -> None:
    """As careful editors do: a new file takes the old one's place."""
    beside = path.with_suffix(".new")
    beside.write_text("endpoints:\n" + entries, encoding="utf-8")
    beside.replace(path)


def tasks_but(*models: SlowModel) -> int:
    """Tasks that run, without those that the vendor has per connection."""
    theirs = {task for model in models for task in model.tasks}
    return len([task for task in asyncio.all_tasks() if task not in theirs])


def files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def living(*kinds: type) -> dict[str, int]:
    gc.collect()
    return dict(Counter(type(o).__name__ for o in gc.get_objects() if isinstance(o, kinds)))


@asynccontextmanager
async def served(path: Path, entries: str, *models: SlowModel) -> AsyncIterator[Served]:
    """A gateway with a key, limits and usage records; nothing of it may be left at the end."""
    write(path, entries)
    before, files_before = tasks_but(*models), files()
    watched = ConfigFile(path, {})
    gateway = Gateway(
        watched.first(), recorder=Recorder(JsonLines(path.with_suffix(".usage.jsonl")))
    )
    app = create_app(gateway, api_key=KEY, watcher=Watcher(gateway, watched, every=0.05))
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server.serve([listening]))
    transport = DirectTransport({})
    try:
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield Served(f"http://127.0.0.1:{listening.getsockname()[1]}", gateway, transport, path)
        await settled(lambda: living(*PER_CALL), {})
    finally:
        await transport.close()
        server.should_exit = True
        await serving
        listening.close()
    del gateway, app, server, serving, watched
    await settled(lambda: tasks_but(*models) <= before, True)  # noqa: FBT003
    await settled(lambda: living(Connection), {})
    await settled(lambda: files() <= files_before + 1, True)  # noqa: FBT003


async def settled(found, wanted) -> None:
    """Wait for what has to become so, and say what it is instead when it does not."""
    for _ in range(200):
        if found() == wanted:
            return
        await asyncio.sleep(0.05)
    assert found() == wanted


async def test_a_thousand_streams_at_once_all_come_to_their_end(tmp_path: Path):
    many = 1000
    async with slow_model() as (model, port):
        limits = f"limits: {{concurrency: {many}}}"
        async with served(tmp_path / "g.yaml", endpoint("m", port, more=limits), model) as gateway:
            for _ in range(int(LOAD)):
                before = tasks_but(model)
                model.released.clear()
                streams = [asyncio.create_task(gateway.stream("m", "hold 5")) for _ in range(many)]
                await model.reached(many)
                assert gateway.busy() == 2 * many
                model.released.set()
                assert await asyncio.gather(*streams) == [5] * many
                assert gateway.busy() == 0
                await settled(lambda before=before: tasks_but(model) <= before, True)  # noqa: FBT003
        await asyncio.gather(*model.tasks)
        assert (model.running, model.left) == (0, 0)


REFUSAL = (
    b"HTTP/1.1 429 No\r\nretry-after: 0\r\ncontent-length: 42\r\n\r\n"
    b'{"error": {"message": "too many of them"}}'
)


class Refusing(asyncio.Protocol):
    """Says 429 to everything."""

    heard = 0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    @override
    def data_received(self, data: bytes) -> None:
        if b"\r\n\r\n" in data:
            type(self).heard += 1
            self.transport.write(REFUSAL)


async def test_a_vendor_that_refuses_everything_is_passed_on_as_it_is(tmp_path: Path):
    each = int(30 * LOAD)
    loop = asyncio.get_running_loop()
    vendor = await loop.create_server(Refusing, "127.0.0.1", 0)
    more = "retry: {max_attempts: 1}, health: {path: null}"
    entry = endpoint("m", vendor.sockets[0].getsockname()[1], more=more)
    async with vendor, served(tmp_path / "g.yaml", entry) as gateway:
        found: Counter[int] = Counter()

        async def client() -> None:
            for _ in range(each):
                found[await gateway.ask("m")] += 1

        await asyncio.gather(*(client() for _ in range(100)))
        assert found == {429: 100 * each}
        assert Refusing.heard > 0
        assert gateway.busy() == 0


async def test_a_vendor_that_hangs_takes_nobody_else_down(tmp_path: Path):
    async with slow_model() as (well, port), slow_model() as (hanging, other):
        patient = "retry: {max_attempts: 1}, health: {path: null}, breaker: {failures: 1000}"
        brief = patient + ", timeouts: {first_byte: 1}"
        entries = (
            endpoint("well", port)
            + endpoint("hung", other, more=patient)
            + endpoint("brief", other, more=brief)
        )
        async with served(tmp_path / "g.yaml", entries, well, hanging) as gateway:
            hung = [asyncio.create_task(gateway.ask("hung", "wait 600")) for _ in range(200)]
            await hanging.reached(200)
            assert set(await asyncio.gather(*(gateway.ask("well") for _ in range(200)))) == {200}
            late = await asyncio.gather(*(gateway.ask("brief", "wait 600") for _ in range(50)))
            assert set(late) == {504}
            assert not any(one.done() for one in hung)
            await hanging.die()
            assert set(await asyncio.gather(*hung)) == {502}
            assert gateway.busy() == 0
        assert well.answered == 200


async def test_a_replica_that_dies_and_comes_back_loses_no_request(tmp_path: Path):
    more = (
        "retry: {max_attempts: 8, base: 0.02, cap: 0.1}, health: {path: null},"
        " breaker: {failures: 3, open: 0.2, max_open: 0.5}"
    )
    async with slow_model() as (steady, port):
        found: Counter[int] = Counter()
        over = asyncio.Event()
        async with (
            slow_model() as (mortal, other),
            served(tmp_path / "g.yaml", endpoint("m", port, other, more=more)) as gateway,
        ):

            async def client() -> None:
                while not over.is_set():
                    found[await gateway.ask("m", "wait 0.01")] += 1

            clients = [asyncio.create_task(client()) for _ in range(40)]
            await settled(lambda: mortal.answered > 50 and steady.answered > 50, True)  # noqa: FBT003
            await mortal.die()
            alone = steady.answered
            await settled(lambda: steady.answered > alone + 100, True)  # noqa: FBT003
            async with slow_model(other) as (again, _):
                await settled(lambda: again.answered > 50, True)  # noqa: FBT003
                over.set()
                await asyncio.gather(*clients)
            assert set(found) == {200}
            assert gateway.busy() == 0


async def test_a_storm_of_reloads_loses_no_request(tmp_path: Path):
    async with slow_model() as (model, port):
        path = tmp_path / "g.yaml"
        found: Counter[int] = Counter()
        over = asyncio.Event()
        async with served(path, endpoint("m", port), model) as gateway:

            async def client(random: Random) -> None:
                while not over.is_set():
                    if random.random() < 0.3:
                        found[await gateway.stream("m", "stream 0.3 3") == 3] += 1
                    else:
                        found[await gateway.ask("m", "wait 0.02")] += 1

            clients = [asyncio.create_task(client(Random(n))) for n in range(40)]  # noqa: S311
            seen = set()
            for number in count():
                limits = f"limits: {{concurrency: {50 + number}}}"
                extra = endpoint(f"extra{number}", port)
                write(path, endpoint("m", port, more=limits) + extra)
                await asyncio.sleep(0.1)
                seen.add(tuple(gateway.gateway.catalog.endpoints))
                # On a machine that has no time for us, there is no storm yet.
                if number >= 60 * LOAD and found[200] > 100 and len(seen) > 5:
                    break
            over.set()
            await asyncio.gather(*clients)
            assert set(found) <= {200, True}
            await settled(gateway.busy, 0)
        assert model.left == 0


async def test_clients_that_leave_at_random_leave_nothing_behind(tmp_path: Path):
    random = Random(11)  # noqa: S311
    async with slow_model() as (model, port):
        limits = "limits: {concurrency: 100}"
        async with served(tmp_path / "g.yaml", endpoint("m", port, more=limits), model) as gateway:
            before = tasks_but(model)
            ended: Counter[str] = Counter()
            for _ in range(int(4 * LOAD)):
                ended += await _some_leave(gateway, random)
                await settled(gateway.busy, 0)
                await settled(lambda: model.running, 0)
                await settled(lambda: tasks_but(model) <= before, True)  # noqa: FBT003
            assert set(ended) <= {"200", "5", "CancelledError"}, ended
            assert ended["CancelledError"] > 50
            assert ended["200"] > 50


async def _some_leave(gateway: Served, random: Random) -> Counter[str]:
    """How calls ended, most of which were given up at some time; their errors are forgotten."""
    calls = [asyncio.create_task(_any(gateway, random)) for _ in range(300)]
    for call in random.sample(calls, 200):
        asyncio.get_running_loop().call_later(random.random() * 1.5, call.cancel)
    results = await asyncio.gather(*calls, return_exceptions=True)
    return Counter(str(r) if isinstance(r, int) else type(r).__name__ for r in results)


async def _any(gateway: Served, random: Random) -> int:
    if random.random() < 0.5:
        return await gateway.stream("m", f"stream {random.random():.2f} 5")
    return await gateway.ask("m", f"wait {random.random():.2f}")
