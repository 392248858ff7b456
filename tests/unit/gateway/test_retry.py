from datetime import timedelta
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Retry
from gateway.errors import RateLimited, RetryableError, Unavailable
from gateway.retry import RetryPolicy


def pause(
    policy: RetryPolicy,
    error: RetryableError,
    attempt: int = 1,
    elapsed: float = 0.0,
    seed: int = 0,
) -> timedelta | None:
    return policy.pause(
        error,
        attempt=attempt,
        elapsed=timedelta(seconds=elapsed),
        random=Random(seed),  # noqa: S311
    )


@given(attempt=st.integers(1, 99), seed=st.integers())
def test_pauses_grow_stay_under_the_cap_and_never_vanish(attempt, seed):
    policy = RetryPolicy(settings=Retry(max_attempts=100, base=0.5, cap=30))
    waited = pause(policy, Unavailable("down"), attempt, seed=seed)
    assert waited is not None
    full = min(30, 0.5 * 2 ** (attempt - 1))
    assert full / 2 <= waited.total_seconds() <= full


@given(asked=st.floats(0, 100), seed=st.integers())
def test_retry_after_is_never_undercut(asked, seed):
    error = RateLimited("slow down", retry_after=timedelta(seconds=asked))
    waited = pause(RetryPolicy(), error, seed=seed)
    assert waited is not None
    assert waited >= timedelta(seconds=asked)


def test_the_last_attempt_and_the_deadline_end_it():
    policy = RetryPolicy(settings=Retry(max_attempts=3, deadline=60))
    assert pause(policy, Unavailable("down"), attempt=2) is not None
    assert pause(policy, Unavailable("down"), attempt=3) is None
    assert pause(policy, Unavailable("down"), elapsed=59.9) is None
    far = RateLimited("tomorrow", retry_after=timedelta(hours=1))
    assert pause(policy, far) is None
