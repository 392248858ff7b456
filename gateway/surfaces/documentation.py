"""Swagger UI, served from here: no other site is asked for anything."""

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from gateway.client import Gateway
from gateway.surfaces.exchange import encode
from gateway.surfaces.openapi import document

POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self' data:; "
    # Swagger UI sets the sizes of its arrows in style attributes; no script can come from there.
    "style-src 'self'; style-src-attr 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Hikaku gateway</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="icon" href="data:,">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}


class Documentation:
    """What a gateway that stands alone says about itself."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """Routes at the root, as MLflow's gateway has them."""
        return [
            Route("/", _root),
            Route("/docs", _docs),
            Route("/docs/start.js", _start),
            Route("/docs/{name}", _asset),
            Route("/openapi.json", self._document),
        ]

    async def _document(self, _: Request) -> Response:
        # Written anew each time: the catalog may have been replaced.
        body = encode(document(self._gateway.catalog))
        return Response(body, media_type="application/json")


async def _root(_: Request) -> Response:
    return RedirectResponse("/docs")


async def _docs(_: Request) -> Response:
    return HTMLResponse(_PAGE, headers={"content-security-policy": POLICY})


async def _start(_: Request) -> Response:
    return Response(_START, media_type="text/javascript; charset=utf-8")


def _asset(request: Request) -> Response:
    name: str = request.path_params["name"]
    if name not in _ASSETS:
        return PlainTextResponse("Not Found", 404)
    try:
        content = _content(name)
    except (PackageNotFoundError, OSError):
        return PlainTextResponse("Swagger UI is not installed here; see /openapi.json", 404)
    headers = {"cache-control": "private, max-age=86400"}
    return Response(content, media_type=_ASSETS[name], headers=headers)


@cache
def _content(name: str) -> bytes:
    # Located, not imported: the package's own module would bring FastAPI with it.
    found = distribution("fastapi-standalone-docs")
    return Path(
        str(found.locate_file(f"fastapi_standalone_docs/static/swagger/{name}"))
    ).read_bytes()
