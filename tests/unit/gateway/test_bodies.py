"""Request bodies at the surfaces: one that stops is not waited for."""

import asyncio
from typing import Any

import pytest

from gateway.client import Gateway
from gateway.main import create_app
from gateway.surfaces import exchange
from tests.support.gateway_wire import catalog

CONFIG = "endpoints: [{name: chat, endpoint_type: llm/v1/chat, model: {provider: echo}}]"
START = {"type": "http.request", "body": b'{"model":', "more_body": True}


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions", "/gateway/chat/invocations", "/anthropic/v1/messages"],
)
@pytest.mark.parametrize("pieces", [[], [START]], ids=["nothing", "the beginning"])
async def test_a_body_that_stops_is_answered_with_408(path, pieces, monkeypatch):
    monkeypatch.setattr(exchange, "BODY_PAUSE", 0.05)
    coming = asyncio.Queue[dict[str, Any]]()
    for piece in pieces:
        coming.put_nowait(piece)
    sent: list[dict[str, Any]] = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"x"), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http",
    }  # fmt: skip
    async with Gateway(catalog(CONFIG)) as gateway:
        await create_app(gateway)(scope, coming.get, send)
    assert sent[0]["status"] == 408
    assert b"nothing more of the request body came" in sent[1]["body"]
