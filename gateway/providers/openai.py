"""Any server that speaks OpenAI's protocol."""

from collections.abc import AsyncGenerator

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import MalformedAnswer
from gateway.http import Transport, WireRequest, call, streaming
from gateway.providers import dialect
from gateway.providers.provider import Provider
from gateway.providers.responses import checked_event, response_answer
from gateway.providers.sse import events
from gateway.types import JSON, Answer, JSONObject


class OpenAIProvider(Provider):
    """One endpoint of an OpenAI-compatible server."""

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._base_url = base_url
        self._headers = _headers(endpoint)

    @override
    async def chat(self, body: JSONObject) -> Answer:
        return dialect.chat_answer(await self._post("/chat/completions", body))

    @override
    async def complete(self, body: JSONObject) -> Answer:
        return dialect.text_answer(await self._post("/completions", body))

    @override
    async def embed(self, body: JSONObject) -> Answer:
        return dialect.embeddings_answer(await self._post("/embeddings", body))

    @override
    def stream_chat(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        return self._chunks("/chat/completions", body)

    @override
    def stream_complete(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        return self._chunks("/completions", body)

    @override
    async def respond(self, body: JSONObject) -> Answer:
        return response_answer(await self._post("/responses", body))

    @override
    async def stream_respond(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        request = self._request("/responses", {**body, "stream": True})
        async with streaming(self._transport, request) as reply:
            async for event in events(reply.chunks):
                checked, last = checked_event(event)
                yield checked
                if last:
                    return
        raise MalformedAnswer("the stream ended before the answer did")

    async def _post(self, path: str, body: JSONObject) -> bytes:
        request = self._request(path, {k: v for k, v in body.items() if k != "stream"})
        return (await call(self._transport, request)).body

    async def _chunks(self, path: str, body: JSONObject) -> AsyncGenerator[bytes, None]:
        request = self._request(path, {**body, "stream": True})
        finished = False
        async with streaming(self._transport, request) as reply:
            async for event in events(reply.chunks):
                if event == b"[DONE]":
                    return
                # The cheap look suffices: what it may take for an end only delays the complaint.
                finished = finished or b'"finish_reason":"' in event.replace(b" ", b"")
                yield dialect.checked_chunk(event)
        if not finished:
            raise MalformedAnswer("the stream ended before the answer did")

    def _request(self, path: str, body: dict[str, JSON]) -> WireRequest:
        if self._endpoint.model is not None:
            body["model"] = self._endpoint.model
        return WireRequest(
            url=self._base_url + path,
            body=msgspec.json.encode(body),
            headers=self._headers,
            timeouts=self._endpoint.timeouts,
        )


def _headers(endpoint: Endpoint) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if endpoint.secret is not None:
        headers["Authorization"] = f"Bearer {endpoint.secret}"
    if isinstance(organization := endpoint.options.get("organization"), str):
        headers["OpenAI-Organization"] = organization
    return headers
