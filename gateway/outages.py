"""Failures on the way to a server: the caller hears which endpoint and what, the log also where."""

import logging
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from gateway.errors import GatewayError, TimedOut, Unreachable

log = logging.getLogger(__name__)

EVERY = 10.0
"""Seconds between two lines about the same failure of the same server."""
_MOST = 1_000
"""Servers and failures kept in mind at once."""


class Outages:
    """Puts the endpoint's name into errors, and what callers must not hear into the log."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str, str], tuple[float, int]] = {}

    def tell(self, error: BaseException, endpoint: str, url: str | None) -> None:
        """Name the endpoint in an error that no vendor worded; other errors stay as they are."""
        cause = error if isinstance(error, Unreachable) else error.__cause__
        if isinstance(cause, Unreachable):
            self._log(endpoint, url, cause.message, cause.detail)
        elif isinstance(error, TimedOut) and error.status is None:
            self._log(endpoint, url, error.message, "")
        match error:
            case Unreachable():
                _reword(error, f"the endpoint `{endpoint}` cannot be reached: {error.message}")
            case TimedOut() if error.status is None:
                _reword(error, f"the endpoint `{endpoint}`: {error.message}")
            case _:
                pass

    def _log(self, endpoint: str, url: str | None, kind: str, detail: str) -> None:
        """One line for many calls: they fail by the thousand."""
        host = urlsplit(url or "").netloc.rpartition("@")[2] or "the vendor's address"
        key, now = (endpoint, host, kind), self._clock()
        at, more = self._seen.get(key, (-EVERY, 0))
        if now - at < EVERY:
            self._seen[key] = (at, more + 1)
            return
        if len(self._seen) >= _MOST:
            self._seen.clear()
        self._seen[key] = (now, 0)
        others = f" (and {more} times more since it was last told)" if more else ""
        words = f"{kind} [{detail}]" if detail else kind
        log.warning("%s: %s: %s%s", endpoint, host, words, others)


def _reword(error: GatewayError, message: str) -> None:
    error.message, error.args = message, (message,)
