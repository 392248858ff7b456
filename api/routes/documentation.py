"""Swagger UI about this API, as the gateway serves it, and the document that it shows."""

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from api.security import GuardedRoute
from gateway.surfaces.documentation import pages

router = APIRouter(route_class=GuardedRoute, include_in_schema=False)

for path, page in pages("Hikaku API"):
    router.add_api_route(path, page, methods=["GET"], response_model=None)


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())
