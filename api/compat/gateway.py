"""The MLflow- and OpenAI-compatible surfaces: the gateway's own routes, behind our guard."""

from collections.abc import Sequence

from starlette.routing import BaseRoute

from api.security import Guard, guarded
from gateway.client import Gateway
from gateway.surfaces import routes

MOST_BYTES = 64 * 2**20
"""Of one request; chats with images are large."""


def surfaces(gateway: Gateway, guard: Guard) -> Sequence[BaseRoute]:
    """Give the routes, each behind the guard."""
    return [guarded(route, guard, most=MOST_BYTES) for route in routes(gateway)]
