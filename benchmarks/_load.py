"""Clients that cost next to nothing: each sends the next request when it has its answer.

    python benchmarks/_load.py --url http://127.0.0.1:9000/v1/chat/completions --clients 64 \
        --seconds 3 [--stream] [--key K] [--model M]

Prints one line of JSON: requests, seconds, latencies in ms; of streams also the time to the first
chunk, and how many chunks came.
"""

import argparse
import asyncio
import json
import time
from urllib.parse import urlsplit

import httptools
import uvloop

PROMPT = "What colour is an apple, and why is it that colour and no other? " * 20


class Client(asyncio.Protocol):
    def __init__(self, load):
        self.load = load
        self.ended = False

    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpResponseParser(self)
        self.send()

    def send(self):
        self.sent = time.perf_counter()
        self.first = 0.0
        self.transport.write(self.load.request)

    def data_received(self, data):
        self.parser.feed_data(data)

    def connection_lost(self, _):
        if not self.ended:
            self.load.broken += 1

    def on_body(self, piece):
        if not self.first:
            self.first = time.perf_counter()
        self.load.chunks += piece.count(b"data: {")

    def on_message_complete(self):
        now = time.perf_counter()
        status = self.parser.get_status_code()
        load = self.load
        load.statuses[status] = load.statuses.get(status, 0) + 1
        load.latencies.append(now - self.sent)
        load.firsts.append((self.first or now) - self.sent)
        if load.wants_more(now):
            self.send()
        else:
            self.ended = True
            load.ended += 1
            self.transport.close()


class Load:
    def __init__(self, options):
        body = {"model": options.model, "temperature": 0, "max_tokens": 100,
                "messages": [{"role": "user", "content": PROMPT}]}  # fmt: skip
        if options.stream:
            body["stream"] = True
        raw = json.dumps(body, separators=(",", ":")).encode()
        parts = urlsplit(options.url)
        key = f"authorization: Bearer {options.key}\r\n" if options.key else ""
        self.request = (
            f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\n{key}"
            f"content-type: application/json\r\ncontent-length: {len(raw)}\r\n\r\n"
        ).encode() + raw
        self.address = (parts.hostname, parts.port)
        self.most = options.requests
        self.until = time.perf_counter() + options.seconds
        self.begun = time.perf_counter()
        self.latencies, self.firsts, self.statuses = [], [], {}
        self.chunks = self.ended = self.broken = 0

    def wants_more(self, now):
        return now < self.until and (not self.most or len(self.latencies) < self.most)


async def main(options):
    load = Load(options)
    loop = asyncio.get_running_loop()
    for _ in range(options.clients):
        await loop.create_connection(lambda: Client(load), *load.address)
    while load.ended + load.broken < options.clients:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    seconds = time.perf_counter() - load.begun
    print(json.dumps({
        "requests": len(load.latencies), "seconds": seconds, "statuses": load.statuses,
        "broken": load.broken, "chunks": load.chunks,
        "p50_ms": at(load.latencies, 0.5), "p99_ms": at(load.latencies, 0.99),
        "first_p50_ms": at(load.firsts, 0.5), "first_p99_ms": at(load.firsts, 0.99),
    }))  # fmt: skip


def at(values, share):
    return round(sorted(values)[int((len(values) - 1) * share)] * 1000, 2) if values else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--requests", type=int, default=0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--key", default="")
    parser.add_argument("--model", default="m")
    uvloop.run(main(parser.parse_args()))
