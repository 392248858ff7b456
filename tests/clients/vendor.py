"""A vendor that speaks OpenAI's protocol, with tools, over a real socket, and remembers."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.clients import claude

ARGUMENTS = json.dumps({"city": "東京"}, ensure_ascii=False)
_BUSY = {"busy": "7", "closed": "3600"}
USAGE = {
    "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 4},
}  # fmt: skip


@dataclass
class Vendor:
    """Answers a question that comes with tools by calling the first, else by saying it back."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    headers: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    paths: list[str] = field(default_factory=list[str])

    async def chat(self, request: Request) -> Response:
        body = await self._remember(request)
        last = body["messages"][-1]
        if body["model"] == "breaks" and body.get("stream"):
            return StreamingResponse(_broken(), media_type="text/event-stream")
        if body["model"] == "refuses":
            error = {"message": "だめです", "type": "invalid_request_error", "code": "bad"}
            return JSONResponse({"error": error}, 400)
        if body["model"] in _BUSY:
            error = {"message": "slow down", "type": "rate_limit_error", "code": "rate_limited"}
            return JSONResponse({"error": error}, 429, {"retry-after": _BUSY[body["model"]]})
        calls = bool(body.get("tools")) and last["role"] == "user"
        text = f"晴れ:{last['content']}" if last["role"] == "tool" else _text(last["content"])
        if body.get("stream"):
            events = _chunks(text, calls=calls)
            return StreamingResponse(events, media_type="text/event-stream")
        return JSONResponse(_answer(text, calls=calls))

    async def complete(self, request: Request) -> Response:
        body = await self._remember(request)
        choice = {"index": 0, "text": body["prompt"], "finish_reason": "stop", "logprobs": None}
        return JSONResponse(
            {
                "id": "cmpl-1", "object": "text_completion", "created": 1, "model": "m-1",
                "choices": [choice], "usage": USAGE,
            }
        )  # fmt: skip

    async def embed(self, request: Request) -> Response:
        body = await self._remember(request)
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        items = [
            {"object": "embedding", "index": index, "embedding": [0.5, 0.25]}
            for index, _ in enumerate(texts)
        ]
        usage = {"prompt_tokens": 3, "total_tokens": 3}
        return JSONResponse({"object": "list", "data": items, "model": "m-1", "usage": usage})

    async def respond(self, request: Request) -> Response:
        body = await self._remember(request)
        said = {"type": "output_text", "text": str(body["input"]), "annotations": []}
        item = {"id": "msg_1", "type": "message", "role": "assistant", "content": [said]}
        response = {
            "id": "resp_vendor", "object": "response", "created_at": 1, "status": "completed",
            "model": "m-1", "output": [item], "parallel_tool_calls": True, "tool_choice": "auto",
            "tools": [], "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        }  # fmt: skip
        if not body.get("stream"):
            return JSONResponse(response)
        events = [
            {"type": "response.created", "sequence_number": 0, "response": response},
            {"type": "response.completed", "sequence_number": 1, "response": response},
        ]
        return StreamingResponse(_events(events), media_type="text/event-stream")

    async def message(self, request: Request) -> Response:
        return claude.answer(await self._remember(request))

    async def count(self, request: Request) -> Response:
        await self._remember(request)
        return JSONResponse({"input_tokens": 14})

    async def anything(self, request: Request) -> Response:
        body = await self._remember(request)
        return JSONResponse({"said": body, "query": request.url.query}, 202, {"x-vendor": "it"})

    async def _remember(self, request: Request) -> dict[str, Any]:
        raw = await request.body()
        body: dict[str, Any] = json.loads(raw) if raw else {}
        self.asked.append(body)
        self.headers.append(dict(request.headers))
        self.paths.append(request.url.path)
        return body


@contextmanager
def selling() -> Iterator[Vendor]:
    """Run the vendor in a thread."""
    vendor = Vendor()
    routes = [
        Route("/v1/chat/completions", vendor.chat, methods=["POST"]),
        Route("/v1/completions", vendor.complete, methods=["POST"]),
        Route("/v1/embeddings", vendor.embed, methods=["POST"]),
        Route("/v1/responses", vendor.respond, methods=["POST"]),
        Route("/v1/messages", vendor.message, methods=["POST"]),
        Route("/v1/messages/count_tokens", vendor.count, methods=["POST"]),
        Route("/v1/{rest:path}", vendor.anything, methods=["GET", "POST", "DELETE"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    # Named, else asyncio takes it for no TCP and leaves Nagle on: 40 ms a call.
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # Before anybody is told where: the server comes later.
        vendor.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        run = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listening])), daemon=True
        )
        run.start()
        try:
            yield vendor
        finally:
            server.should_exit = True
            run.join(timeout=60)


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "+".join(part.get("text") or part["type"] for part in content)


def _call() -> dict[str, Any]:
    function = {"name": "weather", "arguments": ARGUMENTS}
    return {"id": "call_1", "type": "function", "function": function}


def _answer(text: str, *, calls: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if calls else text}
    if calls:
        message["tool_calls"] = [_call()]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-1",
        "choices": [choice], "usage": USAGE,
    }  # fmt: skip


async def _chunks(text: str, *, calls: bool) -> AsyncIterator[bytes]:
    if calls:
        call = _call()
        yield _chunk(
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"index": 0, **call, "function": {"name": "weather", "arguments": ""}}
                ],
            }
        )
        for at in range(0, len(ARGUMENTS), 4):
            piece = {"arguments": ARGUMENTS[at : at + 4]}
            yield _chunk({"tool_calls": [{"index": 0, "function": piece}]})
    else:
        yield _chunk({"role": "assistant", "content": ""})
        for letter in text:
            yield _chunk({"content": letter})
    yield _chunk({}, finish_reason="tool_calls" if calls else "stop")
    yield _event(
        {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m-1",
            "choices": [],
            "usage": USAGE,
        }
    )
    yield b"data: [DONE]\n\n"


async def _events(events: list[dict[str, Any]]) -> AsyncIterator[bytes]:
    for event in events:
        yield f"event: {event['type']}\n".encode() + _event(event)


async def _broken() -> AsyncIterator[bytes]:
    yield _chunk({"role": "assistant", "content": "半"})
    yield _event({"error": {"message": "電源が落ちた", "type": "server_error", "code": 500}})


def _chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _event(
        {
            "id": "c",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m-1",
            "choices": [choice],
        }
    )


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"
