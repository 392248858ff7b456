"""One question as its caller knows it: who asks, under which id, and where the time went."""

import os
import time
from functools import lru_cache
from random import Random
from urllib.parse import quote

_MS = 1000.0
_IDS = Random()  # noqa: S311 - ids are no secrets, and the system's randomness costs a call
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_IDS.seed)


class Ticket:
    """Made by a surface before it asks, filled in by the gateway, and read when it answers.

    Mutable and without validation: there is one per request, on the hot path.
    """

    __slots__ = (
        "attempts",
        "begun",
        "cache",
        "caller",
        "endpoint",
        "first_byte_at",
        "fresh",
        "provider_seconds",
        "provider_to_first_byte",
        "request_id",
        "sticky",
    )

    def __init__(
        self,
        *,
        request_id: str | None = None,
        caller: str | None = None,
        sticky: str | None = None,
        fresh: bool = False,
    ) -> None:
        self.request_id = request_id or f"{_IDS.getrandbits(96):024x}"
        self.caller = caller
        """Whose limits and budget count: the id of a key, never the key."""
        self.sticky = sticky
        """Calls with the same one are led to the same destination of a sticky route."""
        self.fresh = fresh
        """Whether an answer from the cache will not do."""
        self.begun = time.perf_counter()
        self.provider_seconds = 0.0
        """In calls to providers, failed ones included."""
        self.first_byte_at: float | None = None
        """When the first chunk of a stream, or the whole answer, was there."""
        self.provider_to_first_byte = 0.0
        """Of the time until then, what providers took."""
        self.attempts = 0
        self.endpoint: str | None = None
        """Who answered: the asked endpoint, a destination or a fallback."""
        self.cache: str | None = None
        """`hit`, `miss`, or `bypass`: not looked for; None where the endpoint keeps no answers."""

    @property
    def cached(self) -> bool:
        """Whether the answer is one of another time."""
        return self.cache == "hit"

    @property
    def seconds(self) -> float:
        """Since the call began."""
        return time.perf_counter() - self.begun

    def first_byte(self, since: float | None = None) -> None:
        """Note that the first chunk is there, or the answer.

        Args:
            since: When the call began that is still going on; None: there is none.
        """
        now = self.first_byte_at = time.perf_counter()
        running = now - since if since is not None else 0.0
        self.provider_to_first_byte = self.provider_seconds + running

    @property
    def overhead_seconds(self) -> float:
        """Of the time until the first chunk, or the answer, what no provider took."""
        if self.first_byte_at is None:
            return max(self.seconds - self.provider_seconds, 0.0)
        return max(self.first_byte_at - self.begun - self.provider_to_first_byte, 0.0)

    @property
    def first_byte_seconds(self) -> float | None:
        """From the beginning to the first chunk; None while there is none."""
        return self.first_byte_at - self.begun if self.first_byte_at is not None else None

    def headers(self) -> dict[str, str]:
        """What a surface tells its client about this call."""
        return {_NAMES[name]: value.decode() for name, value in self.raw_headers()}

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """The same as ASGI has it; on the hot path."""
        found = [
            (b"x-request-id", self.request_id.encode()),
            (b"x-hikaku-duration-ms", b"%.2f" % (self.seconds * _MS)),
            (b"x-hikaku-provider-ms", b"%.2f" % (self.provider_seconds * _MS)),
            (b"x-hikaku-overhead-ms", b"%.2f" % (self.overhead_seconds * _MS)),
            (b"x-hikaku-attempts", b"%d" % self.attempts),
        ]
        if self.first_byte_at is not None:
            found.append((b"x-hikaku-ttft-ms", b"%.2f" % ((self.first_byte_at - self.begun) * _MS)))
        if self.endpoint is not None:
            found.append((b"x-hikaku-endpoint", _quoted(self.endpoint)))
        if self.cache is not None:
            found.append((b"x-hikaku-cache", self.cache.encode()))
        return found


@lru_cache(maxsize=1024)
def _quoted(name: str) -> bytes:
    """Names may be Japanese, headers may not."""
    return quote(name).encode()


_NAMES = {
    name.lower().encode(): name
    for name in (
        "X-Request-Id", "X-Hikaku-Duration-Ms", "X-Hikaku-Provider-Ms", "X-Hikaku-Overhead-Ms",
        "X-Hikaku-Attempts", "X-Hikaku-TTFT-Ms", "X-Hikaku-Endpoint", "X-Hikaku-Cache",
    )
}  # fmt: skip
