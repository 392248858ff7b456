"""One question as its caller knows it: who asks, under which id, and where the time went."""

import os
import time
from urllib.parse import quote

_MS = 1000.0


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
        self.request_id = request_id or os.urandom(12).hex()
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
        found = {
            "X-Request-Id": self.request_id,
            "X-Hikaku-Duration-Ms": _milliseconds(self.seconds),
            "X-Hikaku-Provider-Ms": _milliseconds(self.provider_seconds),
            "X-Hikaku-Overhead-Ms": _milliseconds(self.overhead_seconds),
            "X-Hikaku-Attempts": str(self.attempts),
        }
        if (first := self.first_byte_seconds) is not None:
            found["X-Hikaku-TTFT-Ms"] = _milliseconds(first)
        if self.endpoint is not None:
            # Names may be Japanese, headers may not.
            found["X-Hikaku-Endpoint"] = quote(self.endpoint)
        if self.cache is not None:
            found["X-Hikaku-Cache"] = self.cache
        return found


def _milliseconds(seconds: float) -> str:
    return f"{seconds * _MS:.2f}"
