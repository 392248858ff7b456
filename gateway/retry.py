"""When to try again: the single retry layer's decision, without its sleeping."""

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from gateway.config import Retry
from gateway.errors import RetryableError


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Jittered exponential back-off that honours `Retry-After`."""

    settings: Retry = field(default_factory=Retry)

    def pause(
        self, error: RetryableError, *, attempt: int, elapsed: timedelta, random: Random
    ) -> timedelta | None:
        """How long to wait after the failed `attempt` (from 1); None means give up.

        Args:
            error: What the attempt failed with.
            attempt: Number of the attempt that failed.
            elapsed: Since the first attempt began.
            random: Source of jitter.
        """
        if attempt >= self.settings.max_attempts:
            return None
        grown = self.settings.base * 2.0 ** min(attempt - 1, 32)
        # Half fixed, half random: callers that failed together come back apart, none at once.
        seconds = min(self.settings.cap, grown) * random.uniform(0.5, 1.0)
        if error.retry_after is not None:
            # Never earlier than asked; a little later, so that those told the same do not collide.
            seconds = max(seconds, error.retry_after.total_seconds() + seconds * 0.1)
        if elapsed.total_seconds() + seconds > self.settings.deadline:
            return None
        return timedelta(seconds=seconds)
