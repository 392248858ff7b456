from collections import Counter
from random import Random

from gateway.config import TrafficRoute
from gateway.routing import pick
from gateway.types import EndpointType


def route(*shares: tuple[str, float], sticky: bool = True) -> TrafficRoute:
    return TrafficRoute(
        name="r", endpoint_type=EndpointType.CHAT, shares=tuple(shares), sticky=sticky
    )


def keys(found: TrafficRoute, size: int = 4000) -> dict[str, str]:
    return {str(key): pick(found, Random(0), str(key)) for key in range(size)}  # noqa: S311


def test_keys_are_shared_out_by_weight():
    shares = Counter(keys(route(("a", 3), ("b", 1))).values())
    assert 0.72 < shares["a"] / 4000 < 0.78


def test_a_changed_weight_moves_no_more_keys_than_it_must():
    before, after = keys(route(("a", 1), ("b", 1))), keys(route(("a", 1), ("b", 2)))
    moved = [key for key, name in before.items() if after[key] != name]
    assert all(after[key] == "b" for key in moved)
    assert 0.13 < len(moved) / 4000 < 0.21  # From a half to two thirds: a sixth.


def test_a_destination_without_weight_gets_nothing():
    assert set(keys(route(("a", 1), ("b", 0)), 200).values()) == {"a"}


def test_without_a_key_or_on_an_ordinary_route_chance_decides():
    random = Random(1)  # noqa: S311
    loose = route(("a", 1), ("b", 1), sticky=False)
    assert len({pick(loose, random, "same") for _ in range(50)}) == 2
    assert len({pick(route(("a", 1), ("b", 1)), random) for _ in range(50)}) == 2
