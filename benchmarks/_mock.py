"""A model that costs next to nothing: chat completions, whole at once or in chunks over time.

    python benchmarks/_mock.py --port 9000

One clock drives all streams. `model` decides: `fail` answers 429, `hang` never answers.
"""

import argparse
import asyncio
import json

import httptools
import uvloop

FIRST_CHUNK = 0.1
BETWEEN = 0.01
CHUNKS = 100
TEXT = "The apple is red, sweet and a little sour. " * 8
ANSWER = json.dumps({
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": TEXT},
                 "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 300, "completion_tokens": 80, "total_tokens": 380},
}).encode()  # fmt: skip
WHOLE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER)
    + ANSWER
)
REFUSAL = b'{"error":{"message":"slow down","type":"rate_limit_error","code":"rate_limited"}}'
TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\nretry-after: 0\r\n"
    b"content-length: %d\r\n\r\n" % len(REFUSAL) + REFUSAL
)
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def framed(event: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(event) + 8, b"data: " + event + b"\n\n")


def chunk(finish: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": "word "}, "finish_reason": finish}
    event = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [choice]}  # fmt: skip
    return framed(json.dumps(event).encode())


PIECE = chunk(None)
LAST = chunk("stop") + framed(b"[DONE]") + b"0\r\n\r\n"


class Model(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)
        self.body = b""
        self.timer = None

    def connection_lost(self, _):
        if self.timer is not None:
            self.timer.cancel()

    def data_received(self, data):
        self.parser.feed_data(data)

    def on_body(self, piece):
        self.body += piece

    def on_message_complete(self):
        body, self.body = self.body, b""
        if b'"stream":true' in body or b'"stream": true' in body:
            loop = asyncio.get_running_loop()
            self.timer = loop.call_later(FIRST_CHUNK, self.begin, loop.time() + FIRST_CHUNK)
        elif b'"model":"fail"' in body:
            self.transport.write(TOO_MANY)
        elif b'"model":"hang"' not in body:
            self.transport.write(WHOLE)

    def begin(self, at):
        self.transport.write(STREAM)
        self.step(at, CHUNKS)

    def step(self, at, left):
        if left > 1:
            self.transport.write(PIECE)
            loop = asyncio.get_running_loop()
            self.timer = loop.call_at(at + BETWEEN, self.step, at + BETWEEN, left - 1)
        else:
            self.transport.write(LAST)


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Model, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, default=9000)
    uvloop.run(serve(options.parse_args().port))
