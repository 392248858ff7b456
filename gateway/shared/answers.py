"""Answers that any process may give again: kept in the store, bounded in bytes and in time."""

from contextlib import suppress

import msgspec
from typing_extensions import override

from gateway.cache import MOST_BYTES, Cache, LruCache
from gateway.shared import scripts
from gateway.shared.hub import AwayError, Hub
from gateway.types import Answer

_LONGEST = 365 * 86_400_000
"""Milliseconds."""


class SharedCache(Cache):
    """In the store; while it is away, in this process."""

    def __init__(self, hub: Hub, most_bytes: int = 4 * MOST_BYTES) -> None:
        self._hub = hub
        self._most = most_bytes
        self._own = LruCache()
        self._decoder = msgspec.msgpack.Decoder(Answer)

    @override
    async def get(self, key: bytes) -> Answer | None:
        try:
            found = await self._hub.ask("GET", self._key(key))
        except AwayError:
            return await self._own.get(key)
        if found is None:
            return None
        with suppress(msgspec.DecodeError):  # Of a version that writes them in another way.
            return self._decoder.decode(found)
        return None

    @override
    async def put(self, key: bytes, answer: Answer, ttl: float) -> None:
        kept = msgspec.msgpack.encode(answer)
        if len(kept) > self._most:
            return
        keys = [self._key(key), self._hub.key("{answers}", "index")]
        arguments = [kept, min(int(ttl * 1000), _LONGEST), len(kept) + len(keys[0]), self._most]
        try:
            await self._hub.run(scripts.KEEP, keys, arguments)
        except AwayError:
            await self._own.put(key, answer, ttl)

    def _key(self, key: bytes) -> str:
        return self._hub.key("{answers}", key.hex())
