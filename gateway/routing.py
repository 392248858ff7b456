"""Which endpoint a name leads to this time."""

from random import Random

from gateway.config import TrafficRoute


def pick(route: TrafficRoute, random: Random) -> str:
    """One destination of a traffic route, as often as its share says."""
    names = [name for name, _ in route.shares]
    weights = [weight for _, weight in route.shares]
    return random.choices(names, weights)[0]
