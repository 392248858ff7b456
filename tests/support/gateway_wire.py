"""A transport of scripted replies, and a provider that is asked over it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from typing_extensions import override

from gateway.config import Catalog, Endpoint, parse
from gateway.errors import GatewayError
from gateway.http import Reply, ReplyStream, Transport, WireRequest

Script = Callable[[WireRequest], Reply | GatewayError]


@dataclass
class ScriptedTransport(Transport):
    """Answers every request by `script`, streams in pieces of `cut` bytes, and remembers."""

    script: Script
    cut: int = 1 << 20
    requests: list[WireRequest] = field(default_factory=list[WireRequest])
    open_streams: int = 0

    @override
    async def send(self, request: WireRequest) -> Reply:
        self.requests.append(request)
        reply = self.script(request)
        if isinstance(reply, GatewayError):
            raise reply
        return reply

    @override
    @asynccontextmanager
    async def stream(self, request: WireRequest) -> AsyncIterator[ReplyStream]:
        reply = await self.send(request)
        self.open_streams += 1
        try:
            pieces = _pieces(reply.body, self.cut)
            yield ReplyStream(status=reply.status, headers=reply.headers, chunks=pieces)
        finally:
            self.open_streams -= 1

    @override
    async def close(self) -> None:
        pass

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(request.body) for request in self.requests]


async def _pieces(body: bytes, cut: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), cut):
        yield body[start : start + cut]


def reply(status: int = 200, body: object = None, **headers: str) -> Reply:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=names, body=raw)


def chat_reply(text: str | None, *, finish_reason: str = "stop", **message: object) -> Reply:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish_reason,
    }
    usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    return reply(body={"id": "x", "model": "m-1", "choices": [choice], "usage": usage})


def sse(*events: object, done: bool = True) -> bytes:
    frames = [b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events]
    return b"".join(frames) + (b"data: [DONE]\n\n" if done else b"")


def catalog(text: str, environ: Mapping[str, str] | None = None) -> Catalog:
    return parse(text, environ or {})


def endpoint(provider: str, kind: str = "llm/v1/chat", **config: object) -> Endpoint:
    text = msgspec.json.encode(
        {
            "endpoints": [
                {
                    "name": "it",
                    "endpoint_type": kind,
                    "model": {"provider": provider, "name": "m", "config": config},
                    "retry": {"base": 0},
                }
            ]
        }
    )
    return parse(text.decode(), {}).endpoints["it"]  # JSON is YAML.
