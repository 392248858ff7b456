"""The way past the list of routes, which is tried one by one, for what is asked the most."""

from collections.abc import Sequence

from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

_INVOCATIONS = ("/gateway/{name}/invocations", "/endpoints/{name}/invocations")
_PARTS = 4
"""Of such a path, the empty one before the first slash included."""


class Shortcut:
    """Middleware that finds a surface's route in a dictionary; all else goes the long way."""

    def __init__(self, app: ASGIApp, routes: Sequence[Route]) -> None:
        self._app = app
        self._exact = {route.path: route for route in routes if "{" not in route.path}
        self._named = {r.path.split("/")[1]: r for r in routes if r.path in _INVOCATIONS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one exchange."""
        if scope["type"] == "http" and not scope.get("root_path"):
            path: str = scope["path"]
            found = self._exact.get(path)
            parameters: dict[str, str] = {}
            if found is None and path.endswith("/invocations"):
                parts = path.split("/")
                if len(parts) == _PARTS and parts[2]:
                    found = self._named.get(parts[1])
                    parameters = {"name": parts[2]}
            if found is not None and found.methods and scope["method"] in found.methods:
                scope["path_params"] = parameters
                # Read now: what guards a route may have been put before it later.
                await found.app(scope, receive, send)
                return
        await self._app(scope, receive, send)
