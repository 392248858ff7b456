"""Keeps the keys of an endpoint out of everything that is said about its failures."""

from collections.abc import AsyncGenerator, Awaitable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from datetime import timedelta

from typing_extensions import override

from gateway.errors import GatewayError
from gateway.providers.batching import BatchAnswer, BatchLook, VendorBatches
from gateway.providers.provider import Provider
from gateway.types import Answer, JSONObject

_SHORTEST = 8
"""Characters; what is shorter is no secret, and would tear holes into words."""


class _Veil:
    """What must not be read, and how it is taken out of a text."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(sorted((s for s in secrets if len(s) >= _SHORTEST), key=len))[::-1]

    def over(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def conceal(self, error: GatewayError) -> None:
        error.message = self.over(error.message)
        error.code = self.over(error.code) if error.code else None
        error.args = (error.message,)

    @contextmanager
    def worn(self) -> Iterator[None]:
        """What is raised inside leaves without its secrets."""
        try:
            yield
        except GatewayError as error:
            self.conceal(error)
            raise


class DiscreetProvider(Provider):
    """Another provider, whose errors do not repeat the key: vendors and URLs do."""

    def __init__(self, provider: Provider, secrets: Iterable[str]) -> None:
        self._provider = provider
        self._veil = _Veil(secrets)

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
        try:  # Not `worn`: this is on every call's way.
            return await asking
        except GatewayError as error:
            self._veil.conceal(error)
            raise

    async def _streamed(self, chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        async with aclosing(chunks):
            with self._veil.worn():
                async for chunk in chunks:
                    yield chunk


class DiscreetBatches(VendorBatches):
    """Another batch interface, whose errors do not repeat the key; they are kept for long."""

    def __init__(self, batches: VendorBatches, secrets: Iterable[str]) -> None:
        self._batches = batches
        self._veil = _Veil(secrets)
        self.max_requests = batches.max_requests
        self.max_bytes = batches.max_bytes

    @override
    def line(self, custom_id: str, body: JSONObject) -> bytes:
        with self._veil.worn():
            return self._batches.line(custom_id, body)

    @override
    async def find(self, mark: str, age: timedelta, count: int) -> list[str]:
        with self._veil.worn():
            return await self._batches.find(mark, age, count)

    @override
    async def submit(self, mark: str, lines: Sequence[bytes]) -> str:
        with self._veil.worn():
            return await self._batches.submit(mark, lines)

    @override
    async def look(self, batch_id: str) -> BatchLook:
        with self._veil.worn():
            seen = await self._batches.look(batch_id)
        return replace(seen, error=self._veil.over(seen.error)) if seen.error else seen

    @override
    async def results(self, batch_id: str) -> AsyncGenerator[BatchAnswer, None]:
        with self._veil.worn():
            async with aclosing(self._batches.results(batch_id)) as answers:
                async for answer in answers:
                    if answer.error is not None:
                        self._veil.conceal(answer.error)
                    yield answer

    @override
    async def cancel(self, batch_id: str) -> None:
        with self._veil.worn():
            await self._batches.cancel(batch_id)
