"""CPU per call of the HTTP clients the gateway could stand on.

One tiny upstream in a process of its own (asyncio, fixed answer), one client at a time in this
one; each client keeps N calls in flight and POSTs a chat request of 1.2 KB, of which the answer is
parsed. CPU is that of this process, user and system, all its threads.

    python benchmarks/http_transport.py [--calls 4000] [--connections 64 256 1000]
"""

# ruff: noqa: ARG001, PLC0415 - one signature for all; each client is imported when measured

import argparse
import asyncio
import json
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

Post = Callable[[], Awaitable[bytes]]
TEXT = "りんごは何色ですか? " * 30
REQUEST = msgspec.json.encode(
    {"model": "m", "messages": [{"role": "user", "content": TEXT}], "temperature": 0}
)
ANSWER = msgspec.json.encode(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 100, "total_tokens": 200},
    }
)
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(
    ANSWER
)
HEADERS = {"content-type": "application/json", "authorization": "Bearer k"}


class Upstream(asyncio.Protocol):
    """Answers every complete request at once."""

    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""

    def data_received(self, data):
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end].lower()
            length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
            if len(self.buffer) < end + 4 + length:
                return
            self.buffer = self.buffer[end + 4 + length :]
            self.transport.write(HEAD + ANSWER)


def serve(port: "multiprocessing.Queue[int]") -> None:
    async def run():
        server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", 0)
        port.put(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())


class Floor(asyncio.Protocol):
    """The least a client can do: one connection, one call at a time, lengths counted by hand."""

    def connection_made(self, transport):
        self.transport, self.buffer, self.waiter = transport, b"", None

    def data_received(self, data):
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end >= 0 and len(self.buffer) >= end + 4 + len(ANSWER):
            body, self.buffer = self.buffer[end + 4 :], b""
            self.waiter.set_result(body)

    def post(self, head):
        self.waiter = asyncio.get_running_loop().create_future()
        self.transport.write(head + REQUEST)
        return self.waiter


async def floor(url, n):
    port = int(url.split(":")[2].split("/")[0])
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Floor, "127.0.0.1", port) for _ in range(n)]
    idle = [protocol for _, protocol in made]
    head = (
        b"POST /v1 HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n" % len(REQUEST)
    )

    async def post():
        protocol = idle.pop()
        body = await protocol.post(head)
        idle.append(protocol)
        return body

    async def close():
        for transport, _ in made:
            transport.close()

    return post, close


async def ours(url, n):
    from gateway.http import DirectTransport

    return _through(DirectTransport(), url)


async def aiohttp(url, n):
    from gateway.http.aiohttp_transport import AiohttpTransport

    return _through(AiohttpTransport(), url)


def _through(transport, url):
    from gateway.http import WireRequest, call

    async def post():
        request = WireRequest(url=url, body=REQUEST, headers=HEADERS)
        return (await call(transport, request)).body

    return post, transport.close


async def stock_httpx2(url, n):
    import httpx2

    limits = httpx2.Limits(max_connections=n, max_keepalive_connections=n)
    return _over(httpx2.AsyncClient(limits=limits, trust_env=False, timeout=60), url)


async def httpx2_over_aiohttp(url, n):
    import httpx2
    from httpx_aiohttp.httpx2 import AiohttpTransport

    limits = httpx2.Limits(max_connections=n, max_keepalive_connections=n)
    client = httpx2.AsyncClient(
        transport=AiohttpTransport(limits=limits), trust_env=False, timeout=60
    )
    return _over(client, url)


async def httpx2_over_ours(url, n):
    import httpx2

    from gateway.config import Timeouts
    from gateway.http import DirectTransport
    from gateway.http.httpx2_transport import OverTransport

    transport = DirectTransport()
    over = OverTransport(transport, Timeouts(), streamed=False, bearer=None)
    post, close_client = _over(httpx2.AsyncClient(transport=over, trust_env=False), url)

    async def close():
        await close_client()
        await transport.close()

    return post, close


async def pyreqwest(url, n):
    from pyreqwest.client import ClientBuilder

    client = ClientBuilder().max_connections(n).no_proxy().build()

    async def post():
        request = client.post(url).headers(HEADERS).body_bytes(REQUEST).build()
        response = await request.send()
        return bytes(await response.bytes())

    return post, client.close


def _over(client, url):
    async def post():
        return (await client.post(url, content=REQUEST, headers=HEADERS)).content

    return post, client.aclose


CLIENTS = {
    "floor: raw asyncio": floor,
    "ours": ours,
    "pyreqwest": pyreqwest,
    "aiohttp through our Transport": aiohttp,
    "httpx2 over our Transport": httpx2_over_ours,
    "httpx2 over httpx_aiohttp": httpx2_over_aiohttp,
    "httpx2, stock": stock_httpx2,
}


async def measure(make, url, connections, calls):
    post, close = await make(url, connections)
    left = iter(range(calls))

    async def worker():
        for _ in left:
            msgspec.json.decode(await post())

    await asyncio.gather(*(post() for _ in range(connections)))  # Every connection is open.
    before, begun = _cpu(), time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(connections)))
    cpu, wall = _cpu() - before, time.perf_counter() - begun
    await close()
    await asyncio.sleep(0.05)
    return cpu / calls * 1e6, calls / wall


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 256, 1000])
    parser.add_argument("--only", nargs="+", default=list(CLIENTS), metavar="CLIENT")
    options = parser.parse_args()
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    upstream = multiprocessing.Process(target=serve, args=(port,), daemon=True)
    upstream.start()
    url = f"http://127.0.0.1:{port.get()}/v1/chat/completions"
    for name in options.only:
        make, row = CLIENTS[name], {}
        for n in options.connections:
            runs = [uvloop.run(measure(make, url, n, options.calls)) for _ in range(options.runs)]
            cpu, rate = (statistics.median(column) for column in zip(*runs, strict=True))
            row[n] = {"cpu_us_per_call": round(cpu), "calls_per_second": round(rate)}
        print(json.dumps({"client": name, "connections": row}), flush=True)
    upstream.terminate()


if __name__ == "__main__":
    main()
