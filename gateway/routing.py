"""Which endpoint a name leads to this time."""

import math
from functools import lru_cache
from hashlib import blake2b
from random import Random

from gateway.config import TrafficRoute

_ALL = 2.0**64


def pick(route: TrafficRoute, random: Random, sticky: object = None) -> str:
    """One destination of a traffic route, as often as its share says.

    Args:
        route: Where it may lead.
        random: Source of chance.
        sticky: Of a sticky route: equal keys lead to one destination while its share stands. What
            is no text is no key.
    """
    if route.sticky and isinstance(sticky, str) and sticky:
        return max(route.shares, key=lambda share: _affinity(route.name, sticky, *share))[0]
    drawn = random.random() * _sum(route.shares)
    for name, weight in route.shares:
        drawn -= weight
        if drawn < 0:
            return name
    return next(name for name, weight in reversed(route.shares) if weight > 0)


@lru_cache(maxsize=1024)
def _sum(shares: tuple[tuple[str, float], ...]) -> float:
    return sum(weight for _, weight in shares)


def _affinity(route: str, sticky: object, name: str, weight: float) -> float:
    """How near a key is to a destination; a changed weight moves no more keys than it must.

    Source: weighted rendezvous hashing, Schindelhauer and Schomaker 2005.
    """
    if weight <= 0:
        return -math.inf
    digest = blake2b(f"{route}\0{sticky}\0{name}".encode(), digest_size=8).digest()
    chance = (int.from_bytes(digest) + 0.5) / _ALL
    return -weight / math.log(chance)
