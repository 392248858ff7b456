"""An upstream that costs next to nothing: OpenAI's chat protocol on a raw asyncio server.

    python benchmarks/_upstream.py --port 9000 --latency-ms 200

Answers "ANS-" and twelve hex digits of the SHA-256 of the last message, so that the right score of
any data set is known beforehand. `GET /stats` counts calls, and full answers beyond the first per
question; `GET /answers` lists what was answered; `POST /reset` sets all to zero.
"""

import argparse
import asyncio
import hashlib
import json
from collections import Counter

import uvloop

answers: Counter[bytes] = Counter()
calls: Counter[str] = Counter()


def answer(question: str) -> str:
    return "ANS-" + hashlib.sha256(question.encode()).hexdigest()[:12]


class Upstream(asyncio.Protocol):
    latency = 0.0

    def connection_made(self, transport):
        self.transport = transport
        self.received = b""

    def data_received(self, data):
        self.received += data
        while True:
            end = self.received.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.received[:end]
            length = 0
            mark = head.lower().find(b"content-length:")
            if mark >= 0:
                length = int(head[mark + 15 :].split(b"\r\n", 1)[0])
            if len(self.received) < end + 4 + length:
                return
            body = self.received[end + 4 : end + 4 + length]
            self.received = self.received[end + 4 + length :]
            self.route(head, body)

    def route(self, head, body):
        if head.startswith(b"GET /stats"):
            repeated = sum(n - 1 for n in answers.values())
            self.send(
                {"calls": calls["all"], "answers": answers.total(), "answered_again": repeated}
            )
        elif head.startswith(b"GET /answers"):
            self.send({"keys": [key.hex() for key in answers]})
        elif head.startswith(b"POST /reset"):
            calls.clear()
            answers.clear()
            self.send({})
        else:
            calls["all"] += 1
            if self.latency:
                asyncio.get_running_loop().call_later(self.latency, self.complete, body)
            else:
                self.complete(body)

    def complete(self, body):
        if self.transport.is_closing():
            return
        asked = json.loads(body)
        key = hashlib.sha256(json.dumps([asked["model"], asked["messages"]]).encode()).digest()
        answers[key] += 1
        text = answer(asked["messages"][-1]["content"])
        self.send({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked["model"],
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": len(body) // 4, "completion_tokens": 4,
                      "total_tokens": len(body) // 4 + 4},
        })  # fmt: skip

    def send(self, content):
        body = json.dumps(content).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self.transport.write(head % len(body) + body)


async def serve(port: int, latency_ms: float) -> None:
    Upstream.latency = latency_ms / 1000
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=9000)
    options.add_argument("--latency-ms", type=float, default=0)
    given = options.parse_args()
    uvloop.run(serve(given.port, given.latency_ms))
