"""A provider that means its limit: OpenAI's chat protocol behind a token bucket; 429 beyond it.

    python benchmarks/_limited.py --port 9001 --rpm 600 [--burst 1.0] [--tell limits|patience]

`--tell limits` says what the limit is in every reply (x-ratelimit-*), and Retry-After in a 429;
`patience` only the latter. `GET /stats` counts; `POST /reset` begins anew.
"""

import argparse
import asyncio
import json
import time
from http import HTTPStatus

import uvloop


class Bucket:
    def __init__(self, rpm: float, burst: float) -> None:
        self.rate = rpm / 60
        self.capacity = self.level = max(self.rate * burst, 1.0)
        self.at = time.monotonic()

    @property
    def reset(self) -> float:
        return (self.capacity - self.level) / self.rate

    def take(self) -> bool:
        now = time.monotonic()
        self.level = min(self.capacity, self.level + (now - self.at) * self.rate)
        self.at = now
        if self.level < 1:
            return False
        self.level -= 1
        return True


class Provider(asyncio.Protocol):
    bucket: Bucket
    latency = 0.2
    tell = "limits"
    counts = {"accepted": 0, "refused": 0, "since": time.monotonic()}  # noqa: RUF012

    def connection_made(self, transport):
        self.transport = transport
        self.received = b""

    def data_received(self, data):
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end]
            mark = head.lower().find(b"content-length:")
            length = int(head[mark + 15 :].split(b"\r\n", 1)[0]) if mark >= 0 else 0
            if len(self.received) < end + 4 + length:
                return
            self.received = self.received[end + 4 + length :]
            self.route(head)

    def route(self, head):
        if head.startswith(b"GET /stats"):
            counts = dict(self.counts)
            counts["seconds"] = time.monotonic() - counts.pop("since")
            self.send(200, counts)
        elif head.startswith(b"POST /reset"):
            self.counts.update(accepted=0, refused=0, since=time.monotonic())
            self.send(200, {})
        elif head.startswith(b"GET"):
            self.send(404, {})
        elif self.bucket.take():
            self.counts["accepted"] += 1
            asyncio.get_running_loop().call_later(self.latency, self.answer)
        else:
            self.counts["refused"] += 1
            self.send(429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}})

    def answer(self):
        if self.transport.is_closing():
            return
        message = {"role": "assistant", "content": "赤"}
        self.send(200, {
            "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21},
        })  # fmt: skip

    def send(self, status, content):
        bucket, body = self.bucket, json.dumps(content).encode()
        lines = [f"HTTP/1.1 {status} X", "content-type: application/json"]
        if self.tell == "limits":
            lines += [
                f"x-ratelimit-limit-requests: {bucket.rate * 60:.0f}",
                f"x-ratelimit-remaining-requests: {int(bucket.level)}",
                f"x-ratelimit-reset-requests: {bucket.reset:.3f}s",
            ]
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            lines.append("retry-after: 1")
        lines.append(f"content-length: {len(body)}")
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


async def serve(options: argparse.Namespace) -> None:
    Provider.bucket = Bucket(options.rpm, options.burst)
    Provider.latency, Provider.tell = options.latency_ms / 1000, options.tell
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Provider, "127.0.0.1", options.port)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=9001)
    parser.add_argument("--rpm", type=float, default=600)
    parser.add_argument("--burst", type=float, default=1.0, help="seconds of the rate")
    parser.add_argument("--latency-ms", type=float, default=200)
    parser.add_argument("--tell", choices=["limits", "patience"], default="limits")
    uvloop.run(serve(parser.parse_args()))
