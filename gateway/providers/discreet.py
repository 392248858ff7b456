"""Keeps the keys of an endpoint out of everything that is said about its failures."""

from collections.abc import AsyncGenerator, Awaitable, Iterable
from contextlib import aclosing

from typing_extensions import override

from gateway.errors import GatewayError
from gateway.providers.provider import Provider
from gateway.types import Answer, JSONObject

_SHORTEST = 8
"""Characters; what is shorter is no secret, and would tear holes into words."""


class DiscreetProvider(Provider):
    """Another provider, whose errors do not repeat the key: vendors and URLs do."""

    def __init__(self, provider: Provider, secrets: Iterable[str]) -> None:
        self._provider = provider
        self._secrets = tuple(sorted((s for s in secrets if len(s) >= _SHORTEST), key=len))[::-1]

    @override
    async def chat(self, body: JSONObject) -> Answer:
        return await self._answered(self._provider.chat(body))

    @override
    def stream_chat(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        return self._streamed(self._provider.stream_chat(body))

    @override
    async def complete(self, body: JSONObject) -> Answer:
        return await self._answered(self._provider.complete(body))

    @override
    def stream_complete(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        return self._streamed(self._provider.stream_complete(body))

    @override
    async def embed(self, body: JSONObject) -> Answer:
        return await self._answered(self._provider.embed(body))

    @override
    async def respond(self, body: JSONObject) -> Answer:
        return await self._answered(self._provider.respond(body))

    @override
    def stream_respond(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        return self._streamed(self._provider.stream_respond(body))

    @override
    async def message(self, body: JSONObject) -> Answer:
        return await self._answered(self._provider.message(body))

    @override
    def stream_message(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        return self._streamed(self._provider.stream_message(body))

    @override
    async def count_tokens(self, body: JSONObject) -> Answer:
        return await self._answered(self._provider.count_tokens(body))

    async def _answered(self, asking: Awaitable[Answer]) -> Answer:
        try:
            return await asking
        except GatewayError as error:
            self._conceal(error)
            raise

    async def _streamed(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async with aclosing(chunks):
            try:
                async for chunk in chunks:
                    yield chunk
            except GatewayError as error:
                self._conceal(error)
                raise

    def _conceal(self, error: GatewayError) -> None:
        for secret in self._secrets:
            error.message = error.message.replace(secret, "***")
            error.code = error.code.replace(secret, "***") if error.code else None
        error.args = (error.message,)
