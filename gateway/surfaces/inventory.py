"""What a gateway can be asked, and which file it goes by: the same words from every program."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.client import Gateway
from gateway.config import Endpoint
from gateway.surfaces.exchange import encode
from gateway.types import JSON
from gateway.watching import ConfigStatus, Watcher

_PATH = "/api/v1/endpoints"
_UNPROCESSABLE = 422


def inventory(gateway: Gateway, status: ConfigStatus | None) -> dict[str, JSON]:
    """All endpoints in the order of the file, usable or not, without secrets; and the file."""
    found: list[JSON] = [
        _endpoint(gateway, endpoint) for endpoint in gateway.catalog.endpoints.values()
    ]
    return {"data": found, "config": _config(status) if status is not None else None}


class Inventory:
    """The paths of it in a gateway that stands alone."""

    def __init__(self, gateway: Gateway, watcher: Watcher) -> None:
        self._gateway = gateway
        self._watcher = watcher

    def routes(self) -> list[Route]:
        """Where the API has them."""
        return [
            Route(_PATH, self._listed),
            Route(f"{_PATH}/reload", self._reloaded, methods=["POST"]),
        ]

    async def _listed(self, _: Request) -> Response:
        body = inventory(self._gateway, self._watcher.status)
        return Response(encode(body), media_type="application/json")

    async def _reloaded(self, request: Request) -> Response:
        """Read the file in this process; others see what has changed by themselves."""
        status = await self._watcher.reload()
        if status.error is None:
            return await self._listed(request)
        problem: JSON = {
            "type": "about:blank",
            "title": "Unprocessable Content",
            "status": _UNPROCESSABLE,
            "detail": f"what was in use stays so: {status.error}",
            "code": "invalid_input",
            "instance": request.url.path,
            "errors": [],
        }
        return Response(encode(problem), _UNPROCESSABLE, media_type="application/problem+json")


def _config(status: ConfigStatus) -> dict[str, JSON]:
    loaded_at = status.loaded_at
    return {
        "path": str(status.path),
        "loaded_at": loaded_at.isoformat() if loaded_at is not None else None,
        "error": status.error,
        "warnings": list(status.warnings),
    }


def _endpoint(gateway: Gateway, endpoint: Endpoint) -> dict[str, JSON]:
    reason = endpoint.unavailable or gateway.closed(endpoint.name)
    return {
        "name": endpoint.name,
        "endpoint_type": endpoint.endpoint_type,
        "provider": endpoint.provider,
        "model": endpoint.model,
        "fingerprint": endpoint.fingerprint,
        "available": reason is None,
        "reason": reason,
        "replicas": [dict(r._asdict()) for r in gateway.replicas(endpoint.name)],
    }
