"""Under which keys an endpoint's limits lie, and which of them are configured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from gateway.config import Endpoint, Rates

MOST_BLOCK = 64
"""Calls taken from a bucket at once, at most."""
_BLOCKS_A_MINUTE = 600
"""A block is a tenth of a second of the rate: what is left of it is soon forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What holds for the calls of one endpoint, or of one caller at it."""

    told: str
    """The bucket that what the provider tells is kept with: of one model of one account."""
    account: str
    """Where it stands that an account has no quota left."""
    buckets: tuple[tuple[str, float, float], ...]
    """(key, calls, tokens per minute; 0: not limited)."""
    holds: tuple[tuple[str, int], ...]
    """(key, places)."""
    member: str
    """What this endpoint is called among those that hold places."""

    @property
    def keys(self) -> frozenset[str]:
        """All of them."""
        buckets = (key for key, _, _ in self.buckets)
        return frozenset({self.told, self.account, *buckets, *(key for key, _ in self.holds)})


def terms_of(endpoint: Endpoint, key: Callable[..., str]) -> Terms:
    """The terms of an endpoint; `key` makes keys of parts."""
    account = endpoint.account
    home = _home(account.id if account is not None else endpoint.name)
    limited: list[tuple[str, Rates]] = [
        (key("gate", home, "endpoint", endpoint.name), endpoint.limits)
    ]
    if account is not None and account.limited:
        limited.append((key("gate", home, "account"), account.limits))
    return Terms(
        told=key("gate", home, "model", digest(endpoint.model or "")),
        account=key("gate", home, "shut"),
        buckets=_buckets(limited),
        holds=tuple((f"{k}:places", r.concurrency) for k, r in limited if r.concurrency),
        member=endpoint.name,
    )


def terms_of_caller(
    endpoint: Endpoint, caller: str, rates: Rates, key: Callable[..., str]
) -> Terms:
    """The terms of one caller at an endpoint that limits each of them."""
    home = key("caller", _home(f"{endpoint.name} {caller}"))
    limited = [(home, rates)]
    return Terms(
        told=home,
        account=f"{home}:shut",
        buckets=_buckets(limited),
        holds=tuple((f"{k}:places", r.concurrency) for k, r in limited if r.concurrency),
        member="caller",
    )


def block_of(per_minute: float) -> int:
    """How many calls are taken at once."""
    return max(min(int(per_minute / _BLOCKS_A_MINUTE), MOST_BLOCK), 1)


def digest(text: str) -> str:
    """A short name for a text of any length and letters."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=9).hexdigest()


def _home(name: str) -> str:
    """Braces: in a Redis cluster, all keys with the same ones lie on one node."""
    return f"{{{digest(name)}}}"


def _buckets(limited: Sequence[tuple[str, Rates]]) -> tuple[tuple[str, float, float], ...]:
    return tuple((k, r.rpm or 0.0, r.tpm or 0.0) for k, r in limited if r.rpm or r.tpm)
