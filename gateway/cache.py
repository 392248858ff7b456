"""Not twice: answers that are given again to exactly the same request."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import msgspec
from typing_extensions import override

from gateway.config import Cache as Settings
from gateway.config import Endpoint
from gateway.errors import Outcome
from gateway.types import Answer, EndpointType, JSONObject

MOST_BYTES = 64 * 2**20
"""Of answers kept by one process; an entry's own cost is counted in."""
_ENTRY_BYTES = 600
"""What an entry costs beside its body, measured roughly."""


class Cache(Protocol):
    """Where answers are kept; a shared store can stand behind it."""

    async def get(self, key: bytes) -> Answer | None:
        """The answer to a request, if there is one still."""
        ...

    async def put(self, key: bytes, answer: Answer, ttl: float) -> None:
        """Keep an answer for `ttl` seconds."""
        ...


class LruCache(Cache):
    """In this process; when it is full, what was not asked for the longest goes."""

    def __init__(
        self, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, tuple[float, Answer]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @override
    async def get(self, key: bytes) -> Answer | None:
        found = self._entries.get(key)
        if found is None:
            return None
        until, answer = found
        if until <= self._clock():
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return answer

    @override
    async def put(self, key: bytes, answer: Answer, ttl: float) -> None:
        self._forget(key)
        size = _size(answer)
        if size > self._most:
            return
        self._entries[key] = (self._clock() + ttl, answer)
        self._bytes += size
        while self._bytes > self._most:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: bytes) -> None:
        if (found := self._entries.pop(key, None)) is not None:
            self._bytes -= _size(found[1])


def may_keep(settings: Settings, kind: EndpointType, body: JSONObject) -> bool:
    """Whether a request's answer would be the same another time, or the operator says so."""
    if settings.when == "always" or kind is EndpointType.EMBEDDINGS:
        return True
    return body.get("temperature") == 0 and body.get("n", 1) in {1, None}


def keepable(answer: Answer) -> bool:
    """Whether an answer is worth giving again: whole, and no refusal."""
    return answer.outcome is Outcome.OK and answer.finish_reason != "length"


def key_of(endpoint: Endpoint, ability: str, body: JSONObject) -> bytes:
    """Equal for equal requests to the same model, whatever the order of their keys."""
    head = f"{endpoint.fingerprint} {ability} "
    digest = hashlib.blake2b(head.encode(), digest_size=20)
    digest.update(msgspec.json.encode(body, order="deterministic"))
    return digest.digest()


def _size(answer: Answer) -> int:
    return len(answer.raw) + len(answer.text) + _ENTRY_BYTES
