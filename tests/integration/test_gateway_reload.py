"""A gateway under load while its file is edited, replaced, swapped and broken: nothing is lost."""

import asyncio
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.support.gateway_server import serving
from tests.support.slow_model import slow_model

log = logging.getLogger(__name__)

SLOW, STREAMS = 200, 100
ENOUGH = 50
"""Short requests, of which the usual and the slowest are looked at."""
VISIBLE = 15.0
"""Seconds after which a change was not seen. Meant are 2; how long it took is logged."""
DELAY = 5.0
"""Seconds of delay that are a reload in the way of requests. Meant are 0.05; that is logged too:
a test says whether it works, and a benchmark on a quiet machine how fast."""


def config(port: int, *names: str, model: str = "m") -> str:
    entries = "".join(
        f"  - name: {name}\n    endpoint_type: llm/v1/chat\n    model:\n      provider: vllm\n"
        f"      name: {model}\n      config: {{api_base: 'http://127.0.0.1:{port}/v1'}}\n"
        for name in names
    )
    return "endpoints:\n" + entries


def replaced(path: Path, text: str) -> None:
    """As careful editors and `kubectl` do: a new file takes the old one's place."""
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


@dataclass
class Load:
    """What runs against a gateway, and how it fares."""

    session: aiohttp.ClientSession
    url: str
    port: int
    """Of the model itself, which is asked beside the gateway: what delays both is the machine."""
    through: list[float] = field(default_factory=list[float])
    """Seconds that each short request took."""
    direct: list[float] = field(default_factory=list[float])

    async def ask(self, endpoint: str, words: str, url: str | None = None) -> tuple[int, str]:
        body = {"model": endpoint, "messages": [{"role": "user", "content": words}]}
        async with self.session.post(f"{url or self.url}/v1/chat/completions", json=body) as answer:
            return answer.status, await answer.text()

    async def stream(self, endpoint: str) -> int:
        """Chunks that came of a stream that went on until it was ended, and ended well."""
        message = {"role": "user", "content": "flow 0.3"}
        body = {"model": endpoint, "messages": [message], "stream": True}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body) as answer:
            text = await answer.text()
        assert text.endswith("data: [DONE]\n\n"), text[-300:]
        numbers = [int(number) for number in re.findall(r'"content": ?"(\d+) "', text)]
        assert numbers == list(range(len(numbers)))
        assert re.search(r'"finish_reason": ?"stop"', text), "the last chunk is missing"
        return len(numbers)

    @asynccontextmanager
    async def short_ones(self) -> AsyncIterator[None]:
        """Ask the whole time, and note how long each takes."""
        model = f"http://127.0.0.1:{self.port}"
        async with asyncio.TaskGroup() as tasks:
            enough = asyncio.Event()
            tasks.create_task(self._again(self.url, self.through, enough))
            tasks.create_task(self._again(model, self.direct, enough))
            yield
            while len(self.through) <= ENOUGH:  # noqa: ASYNC110 - of fewer, nothing can be told
                await asyncio.sleep(0.05)
            enough.set()  # not cancelled: a request given up would count as one that was dropped

    async def _again(self, url: str, taken: list[float], enough: asyncio.Event) -> None:
        while not enough.is_set():
            begun = time.perf_counter()
            status, text = await self.ask("short", "wait 0", url)
            taken.append(time.perf_counter() - begun)
            assert status == 200, text
            await asyncio.sleep(0.005)

    def worst_delay(self) -> float:
        """Seconds by which the slowest short request was late, less what the machine did."""
        through, direct = sorted(self.through), sorted(self.direct)
        usual, noise = through[len(through) // 2], direct[-1]
        log.info(
            "%d short requests: p50 %.1f ms, most %.1f ms; beside the gateway: most %.1f ms",
            len(through), usual * 1e3, through[-1] * 1e3, noise * 1e3,
        )  # fmt: skip
        return through[-1] - usual - noise

    async def sees(self, endpoint: str, status: int = 200, text: str = "") -> float:
        """Seconds until the endpoint answers so."""
        begun = time.perf_counter()
        while time.perf_counter() - begun < VISIBLE + 3:
            found = await self.ask(endpoint, "wait 0")
            if found[0] == status and text in found[1]:
                return time.perf_counter() - begun
            await asyncio.sleep(0.02)
        raise TimeoutError(f"{endpoint} never answered {status} {text}")


@asynccontextmanager
async def loaded(path: Path, port: int, *, workers: int = 1) -> AsyncIterator[Load]:
    with serving(path, workers=workers) as url:
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=200)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield Load(session, url, port)


def in_place(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


async def edited(path: Path, port: int, load: Load) -> None:
    in_place(path, config(port, "short", "long", "edited"))
    assert await load.sees("edited") < VISIBLE


async def replaced_atomically(path: Path, port: int, load: Load) -> None:
    replaced(path, config(port, "short", "replaced"))
    assert await load.sees("replaced") < VISIBLE
    # `long` is gone, and what it has in flight goes on.
    assert (await load.ask("long", "wait 0"))[0] == 404


def swap(path: Path, version: str, text: str) -> None:
    """As the kubelet does it: the file is a link into `..data`, which is a link that is swapped."""
    folder = path.parent
    (folder / version).mkdir()
    (folder / version / path.name).write_text(text, encoding="utf-8")
    link = folder / "..new"
    link.symlink_to(version)
    link.rename(folder / "..data")
    if not path.is_symlink():
        path.unlink()
        path.symlink_to(f"..data/{path.name}")


async def swapped(path: Path, port: int, load: Load) -> None:
    for version, name in (("..v1", "swapped"), ("..v2", "swapped-again")):
        swap(path, version, config(port, "short", name))
        assert await load.sees(name) < VISIBLE


async def broken_and_mended(path: Path, port: int, load: Load) -> None:
    replaced(path, "endpoints:\n- name: x\nendpoint_type: llm/v1/chat\n")
    await asyncio.sleep(1.2)
    assert (await load.ask("short", "wait 0"))[0] == 200
    replaced(path, "")
    await asyncio.sleep(1.2)
    assert (await load.ask("short", "wait 0"))[0] == 200
    os.unlink(path)  # noqa: PTH108 - the loop is the test's own
    await asyncio.sleep(1.2)
    assert (await load.ask("short", "wait 0"))[0] == 200
    replaced(path, config(port, "short", "mended"))
    assert await load.sees("mended") < VISIBLE


async def stormed(path: Path, port: int, load: Load) -> None:
    for number in range(40):
        names = [f"extra{n}" for n in range(number % 7)]
        replaced(path, config(port, "short", *names))
        await asyncio.sleep(0.1)
    replaced(path, config(port, "short", "calm"))
    assert await load.sees("calm") < VISIBLE


Change = Callable[[Path, int, Load], Awaitable[None]]


@pytest.mark.parametrize(
    "change", [edited, replaced_atomically, swapped, broken_and_mended, stormed]
)
async def test_nothing_is_dropped_or_delayed_while_the_file_changes(tmp_path, change: Change):
    path = tmp_path / "gateway.yaml"
    async with slow_model() as (model, port):
        path.write_text(config(port, "short", "long"), encoding="utf-8")
        async with loaded(path, port) as load:
            await load.ask("short", "wait 0")
            slow = [asyncio.create_task(load.ask("long", "hold 1")) for _ in range(SLOW)]
            streams = [asyncio.create_task(load.stream("long")) for _ in range(STREAMS)]
            await model.reached(SLOW + STREAMS)
            async with load.short_ones():
                await asyncio.sleep(0.5)
                await change(path, port, load)
            model.released.set()
            answers = await asyncio.gather(*slow)
            chunks = await asyncio.gather(*streams)
    assert {status for status, _ in answers} == {200}
    assert min(chunks) >= 2
    assert model.left == 0
    assert load.worst_delay() < DELAY


async def test_every_process_of_a_gateway_sees_a_change_within_two_seconds(tmp_path):
    path = tmp_path / "gateway.yaml"
    async with slow_model() as (_, port):
        path.write_text(config(port, "short"), encoding="utf-8")
        async with loaded(path, port, workers=3) as load:
            replaced(path, config(port, "short", model="newer"))
            await asyncio.sleep(VISIBLE)
            # A connection stays with its process: many new ones reach them all.
            for _ in range(60):
                async with aiohttp.ClientSession() as session:
                    status, text = await Load(session, load.url, port).ask("short", "wait 0")
                    assert status == 200
                    assert "newer" in text


async def test_a_secret_that_is_rotated_in_its_file_is_used(tmp_path):
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = (line.partition(b":") for line in head.split(b"\r\n"))
        seen.append(next(key.strip() for name, _, key in lines if name.lower() == b"authorization"))
        writer.write(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    path, key = tmp_path / "gateway.yaml", tmp_path / "key"
    key.write_text("old", encoding="utf-8")
    text = config(port, "short").replace("/v1'}", "/v1', api_key: 'file:key'}")
    path.write_text(text, encoding="utf-8")
    async with loaded(path, port) as load:
        await load.ask("short", "wait 0")
        replaced(key, "new")
        await asyncio.sleep(VISIBLE)
        await load.ask("short", "wait 0")
    server.close()
    assert seen == [b"Bearer old", b"Bearer new"]


async def test_a_thousand_endpoints_are_read_without_a_stall(tmp_path):
    path = tmp_path / "gateway.yaml"
    delays: list[float] = []
    async with slow_model() as (_, port):
        path.write_text(config(port, "short"), encoding="utf-8")
        async with loaded(path, port) as load:
            for model in ("first", "second"):
                load.through.clear()
                load.direct.clear()
                async with load.short_ones():
                    await asyncio.sleep(0.5)
                    names = [f"e{number}" for number in range(1000)]
                    replaced(path, config(port, "short", *names, model=model))
                    # A file of a hundred kilobytes may take a little longer than any other.
                    assert await load.sees("e999", text=model) < 2 * VISIBLE
                delays.append(load.worst_delay())
    # A stall of ours comes with every reload; one of a busy machine does not.
    assert min(delays) < DELAY
