"""What a vendor of Anthropic's protocol answers: thoughts, a search of its own, and words."""

import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import JSONResponse, Response, StreamingResponse

THOUGHT = {"type": "thinking", "thinking": "うーん、赤かな。", "signature": "c2lnbmF0dXJl"}
USAGE = {
    "input_tokens": 3, "output_tokens": 7, "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 8,
}  # fmt: skip


def answer(body: dict[str, Any]) -> Response:
    """Think where that is asked for, and say `赤`; a model `breaks` fails in mid-stream."""
    if body.get("stream"):
        broken = body["model"] == "breaks"
        return StreamingResponse(_events(body, broken=broken), media_type="text/event-stream")
    return JSONResponse(_message(body, _blocks(body), "end_turn"))


def _blocks(body: dict[str, Any]) -> list[dict[str, Any]]:
    said = {"type": "text", "text": "赤", "citations": None}
    return [THOUGHT, said] if "thinking" in body else [said]


def _message(body: dict[str, Any], blocks: list[Any], stop: str | None) -> dict[str, Any]:
    return {
        "id": "msg_vendor", "type": "message", "role": "assistant", "model": body["model"],
        "content": blocks, "stop_reason": stop, "stop_sequence": None, "usage": USAGE,
    }  # fmt: skip


async def _events(body: dict[str, Any], *, broken: bool) -> AsyncIterator[bytes]:
    yield _event({"type": "message_start", "message": _message(body, [], None)})
    for index, block in enumerate(_blocks(body)):
        kind = block["type"]
        field = "thinking" if kind == "thinking" else "text"
        begun = {"type": kind, field: ""} | ({"signature": ""} if kind == "thinking" else {})
        yield _event({"type": "content_block_start", "index": index, "content_block": begun})
        for letter in block[field]:
            delta = {"type": f"{field}_delta", field: letter}
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        if kind == "thinking":
            delta = {"type": "signature_delta", "signature": block["signature"]}
            yield _event({"type": "content_block_delta", "index": index, "delta": delta})
        yield _event({"type": "content_block_stop", "index": index})
    if broken:
        error = {"type": "overloaded_error", "message": "混んでいます"}
        yield _event({"type": "error", "error": error})
        return
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": delta, "usage": {"output_tokens": 7}})
    yield _event({"type": "message_stop"})


def _event(event: dict[str, Any]) -> bytes:
    data = json.dumps(event, ensure_ascii=False)
    return f"event: {event['type']}\ndata: {data}\n\n".encode()
