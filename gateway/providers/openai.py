"""Any server that speaks OpenAI's protocol."""

import re
from collections.abc import AsyncGenerator

import msgspec
from typing_extensions import override

from gateway.config import Endpoint, habits_of
from gateway.errors import MalformedAnswer, WrongEndpointType
from gateway.http import ReplyStream, Transport, WireRequest, call, streaming
from gateway.http.wire import whole
from gateway.providers import dialect
from gateway.providers.access import access_of
from gateway.providers.fitting import fitting
from gateway.providers.provider import Abilities, Provider
from gateway.providers.responses import checked_event, own_words, response_answer
from gateway.providers.sse import events
from gateway.types import JSON, Answer, JSONObject

_FINISHED = re.compile(rb'"finish_reason":\s*"')
_TELLING = re.compile(rb'"(?:finish_reason":\s*"(\w+)"|content":\s*\[)')
"""A finish reason, or content in parts: what may need translation in a chunk.

Inside a text the quotes would be escaped. An end that is mistaken for one only delays the
complaint.
"""


class OpenAIProvider(Abilities, Provider):
    """One endpoint of an OpenAI-compatible server."""

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._timeouts = endpoint.timeouts
        self._vendor = endpoint.provider
        self._transport = transport
        self._access = access_of(endpoint, transport, base_url)
        self._habits = habits_of(endpoint)
        self._fit = fitting(endpoint, self._habits)

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
        self._check_responses()
        return response_answer(await self._post("/responses", own_words(body)))

    @override
    async def stream_respond(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        self._check_responses()
        request = await self._request("/responses", own_words(body) | {"stream": True})
        async with streaming(self._transport, request) as reply:
            await _check_stream(reply)
            async for event in events(reply.chunks):
                checked, last = checked_event(event)
                yield checked
                if last:
                    return
        raise MalformedAnswer("the stream ended before the answer did")

    async def _post(self, path: str, body: JSONObject) -> bytes:
        request = await self._request(path, {k: v for k, v in body.items() if k != "stream"})
        return (await call(self._transport, request)).body

    async def _chunks(self, path: str, body: JSONObject) -> AsyncGenerator[bytes, None]:
        request = await self._request(path, {**body, "stream": True})
        finished = False
        async with streaming(self._transport, request) as reply:
            await _check_stream(reply)
            async for event in events(reply.chunks):
                if event == b"[DONE]":
                    return
                chunk = dialect.checked_chunk(event)
                if (told := _TELLING.search(chunk)) is not None:
                    finished = finished or _FINISHED.search(chunk) is not None
                    chunk = dialect.plain_chunk(chunk, told[1])
                yield chunk
        if not finished:
            raise MalformedAnswer("the stream ended before the answer did")

    async def _request(self, path: str, body: JSONObject) -> WireRequest:
        access = self._access
        fitted: dict[str, JSON] = self._fit(body)
        url, model = access.base_url + path + access.query, access.model
        if path == "/responses" and access.responses is not None:
            url, model = access.responses
        elif access.in_path:
            fitted.pop("model", None)
        if model is not None:
            fitted["model"] = model
        return WireRequest(
            url=url,
            body=msgspec.json.encode(fitted),
            headers=await access.authorized(),
            timeouts=self._timeouts,
        )

    def _check_responses(self) -> None:
        if not self._habits.responses:
            raise WrongEndpointType(f"`{self._vendor}` has no Responses API")


async def _check_stream(reply: ReplyStream) -> None:
    """Some answer a stream that fails at once with one JSON body, under 200."""
    if reply.headers.get("content-type", "").startswith("application/json"):
        dialect.raise_error_inside(await whole(reply.chunks))
        raise MalformedAnswer("one JSON body came instead of a stream")
