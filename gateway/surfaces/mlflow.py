"""MLflow's interface: invocations in both dialects, and the lists of endpoints and routes."""

import base64
import binascii

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.client import Gateway
from gateway.config import Endpoint
from gateway.errors import GatewayError, InvalidRequest, UnknownEndpoint
from gateway.surfaces.dialects import Dialect, Unprocessable, answered, asked, dialect_of
from gateway.surfaces.exchange import (
    CLIENT_LEFT,
    BodyTooLargeError,
    ClientLeftError,
    EventStream,
    encode,
    json_response,
    read_body,
    retry_headers,
    while_connected,
)
from gateway.surfaces.quota import CallLimitExceeded, CallQuota
from gateway.types import JSON, Answer, EndpointType

_PAGE = 3000
"""Entries per page of a list, as in the original."""


class MlflowSurface:
    """What MLflow's clients, its UI and LangChain's classes call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._quota = CallQuota()

    def routes(self) -> list[Route]:
        """Routes at the root; invocations under both generations' prefixes."""
        limits = "/limits/{name}"
        return [
            Route("/gateway/{name}/invocations", self._invoke, methods=["POST"]),
            Route("/endpoints/{name}/invocations", self._invoke, methods=["POST"]),
            Route("/api/2.0/endpoints/", self._endpoints, methods=["GET"]),
            Route("/api/2.0/gateway/routes/", self._routes, methods=["GET"]),
            Route("/api/2.0/endpoints" + limits, _not_here, methods=["GET"]),
            Route("/api/2.0/gateway" + limits, _not_here, methods=["GET"]),
            Route("/api/2.0/endpoints/limits/", _not_here, methods=["POST"]),
            Route("/api/2.0/gateway/limits/", _not_here, methods=["POST"]),
            Route("/api/2.0/endpoints/{name}", self._endpoint, methods=["GET"]),
            Route("/api/2.0/gateway/routes/{name}", self._route, methods=["GET"]),
        ]

    async def _invoke(self, request: Request) -> Response:
        name: str = request.path_params["name"]
        try:
            return await self._invoked(request, name)
        except GatewayError as error:
            return error_response(error, name)
        except ClientLeftError:
            return Response(status_code=CLIENT_LEFT)

    async def _invoked(self, request: Request, name: str) -> Response:
        endpoint = self._gateway.endpoint(name)
        if endpoint.limit is not None:
            prefix = request.url.path.split("/", 2)[1]
            host = request.client.host if request.client is not None else ""
            self._quota.spend(endpoint.limit, prefix, name, host)
        body = await _body(request)
        agent = request.headers.get("user-agent", "")
        dialect = dialect_of(endpoint, user_agent=agent, body=body)
        wanted = asked(endpoint.endpoint_type, dialect, body)
        if wanted.pop("stream", None):
            return await while_connected(request.receive, self._stream(name, endpoint, wanted))
        answer = await while_connected(request.receive, self._ask(name, endpoint, wanted))
        return json_response(answered(endpoint.endpoint_type, dialect, answer))

    async def _ask(self, name: str, endpoint: Endpoint, body: dict[str, JSON]) -> Answer:
        match endpoint.endpoint_type:
            case EndpointType.CHAT:
                return await self._gateway.chat(name, body)
            case EndpointType.COMPLETIONS:
                return await self._gateway.complete(name, body)
            case EndpointType.EMBEDDINGS:
                return await self._gateway.embed(name, body)

    async def _stream(self, name: str, endpoint: Endpoint, body: dict[str, JSON]) -> EventStream:
        # As in the original, token counts always close a stream.
        body.setdefault("stream_options", {"include_usage": True})
        match endpoint.endpoint_type:
            case EndpointType.CHAT:
                chunks = self._gateway.stream_chat(name, body)
            case EndpointType.COMPLETIONS:
                chunks = self._gateway.stream_complete(name, body)
            case _:
                raise Unprocessable("Embeddings are not streamed.")
        return await EventStream.begin(chunks, failure=_event)

    async def _endpoints(self, request: Request) -> Response:
        return self._listed(request, "endpoints", Dialect.CHOICES)

    async def _routes(self, request: Request) -> Response:
        return self._listed(request, "routes", Dialect.CANDIDATES)

    async def _endpoint(self, request: Request) -> Response:
        return self._shown(request.path_params["name"], Dialect.CHOICES)

    async def _route(self, request: Request) -> Response:
        return self._shown(request.path_params["name"], Dialect.CANDIDATES)

    def _listed(self, request: Request, key: str, dialect: Dialect) -> Response:
        try:
            start = _page_start(request.query_params.get("page_token"))
        except InvalidRequest as error:
            return error_response(error)
        endpoints = list(self._gateway.catalog.endpoints.values())
        page = [_described(endpoint, dialect) for endpoint in endpoints[start : start + _PAGE]]
        more = start + _PAGE < len(endpoints)
        token = _page_token(start + _PAGE) if more else None
        return json_response(encode({key: page, "next_page_token": token}))

    def _shown(self, name: str, dialect: Dialect) -> Response:
        endpoint = self._gateway.catalog.endpoints.get(name)
        if endpoint is None:
            return error_response(UnknownEndpoint(name), name, dialect)
        return json_response(encode(_described(endpoint, dialect)))


def error_response(
    error: GatewayError, name: str = "", dialect: Dialect = Dialect.CHOICES
) -> Response:
    """An error as MLflow's gateway shapes it."""
    status, headers = error.http_status, retry_headers(error)
    if isinstance(error, CallLimitExceeded):  # The original's one answer without `detail`.
        return json_response(encode({"error": error.message}), status=status, headers=headers)
    detail: JSON = error.message
    if isinstance(error, Unprocessable):
        detail = error.detail
    if isinstance(error, UnknownEndpoint):
        thing = "route" if dialect is Dialect.CANDIDATES else "endpoint"
        detail = (
            f"The {thing} '{name}' is not present or active on the server."
            f" Please verify the {thing} name."
        )
    return json_response(encode({"detail": detail}), status=status, headers=headers)


async def _body(request: Request) -> dict[str, JSON]:
    try:
        return await read_body(request)
    except BodyTooLargeError:
        raise
    except InvalidRequest as error:
        raise Unprocessable(error.message) from error


def _event(error: GatewayError) -> bytes:
    return encode({"error": {"message": error.message, "type": type(error).__name__}})


def _described(endpoint: Endpoint, dialect: Dialect) -> dict[str, JSON]:
    word = "route" if dialect is Dialect.CANDIDATES else "endpoint"
    limit = endpoint.limit
    return {
        "name": endpoint.name,
        f"{word}_type": endpoint.endpoint_type,
        "model": {"name": endpoint.model, "provider": endpoint.provider},
        f"{word}_url": f"/gateway/{endpoint.name}/invocations",
        "limit": limit.model_dump() if limit is not None else None,
    }


def _page_start(token: str | None) -> int:
    if not token:
        return 0
    try:
        index = msgspec.json.decode(base64.b64decode(token, validate=True))["index"]
        return max(int(index), 0)
    except (binascii.Error, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InvalidRequest("Invalid page token.") from error


def _page_token(index: int) -> str:
    return base64.b64encode(encode({"index": index})).decode("ascii")


async def _not_here(_: Request) -> Response:
    return json_response(encode({"detail": "Not Implemented"}), status=501)
