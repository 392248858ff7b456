"""Swagger UI, served from here: no other site is asked for anything."""

from collections.abc import Awaitable, Callable
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
<title>%s</title>
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
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
}

Page = tuple[str, Callable[[Request], Awaitable[Response]]]
"""A path, and what answers there."""


class Documentation:
    """What a gateway that stands alone says about itself."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """Routes at the root, as MLflow's gateway has them."""
        return [
            *(Route(path, page) for path, page in pages("Hikaku gateway")),
            Route("/openapi.json", self._document),
        ]

    async def _document(self, _: Request) -> Response:
        # Written anew each time: the catalog may have been replaced.
        body = encode(document(self._gateway.catalog))
        return Response(body, media_type="application/json")


def pages(title: str) -> list[Page]:
    """Swagger UI about the `openapi.json` beside it, under its paths; for any program."""
    html = _PAGE % title

    async def docs(_: Request) -> Response:
        return HTMLResponse(html, headers={"content-security-policy": POLICY})

    return [("/", _root), ("/docs", docs), ("/docs/start.js", _start), ("/docs/{name}", _asset)]


async def _root(_: Request) -> Response:
    return RedirectResponse("/docs")


async def _start(_: Request) -> Response:
    return Response(_START, media_type="text/javascript; charset=utf-8")


async def _asset(request: Request) -> Response:
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
