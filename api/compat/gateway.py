"""The MLflow-, OpenAI- and Anthropic-compatible surfaces: the gateway's own, behind our guard."""

from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from api.errors import RequestRefusedError
from api.security import Guard, GuardedApp
from gateway.client import Gateway
from gateway.surfaces import key_in, refusal_at, routes

MOST_BYTES = 64 * 2**20
"""Of one request; chats with images are large."""


class SurfaceApp(GuardedApp):
    """A surface behind the guard: the guard's refusals in the words that its clients read."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(_with_authorization(scope), receive, send)
        except RequestRefusedError as error:
            body = refusal_at(scope["path"], error.status, error.detail, error.code)
            refusal = Response(body, error.status, error.headers, media_type="application/json")
            await refusal(scope, receive, send)


def surfaces(gateway: Gateway, guard: Guard) -> list[Route]:
    """Give the routes, each behind the guard."""
    found = routes(gateway)
    for route in found:
        route.app = SurfaceApp(route.app, guard, most=MOST_BYTES)
    return found


def _with_authorization(scope: Scope) -> Scope:
    """Put a key that came in a header of its own where the guard looks for it."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    if any(name == b"authorization" for name, _ in headers):
        return scope
    key = key_in(headers)
    if key is None:
        return scope
    # The old headers stay as they are: a scope is shared by everyone around.
    return {**scope, "headers": [*headers, (b"authorization", b"Bearer " + key)]}
