"""MLflow's interface: invocations in both dialects, and the lists of endpoints and routes."""

import base64
import binascii
from collections.abc import Mapping
from typing import Literal

import msgspec
from starlette.routing import Route

from gateway.client import Gateway
from gateway.config import Endpoint
from gateway.errors import GatewayError, InvalidRequest, UnknownEndpoint
from gateway.quota import CallLimitExceeded
from gateway.surfaces.dialects import answered, asked, dialect_of
from gateway.surfaces.exchange import (
    Call,
    EventStream,
    NotAnObjectError,
    NotJsonError,
    Reply,
    Whole,
    data_frame,
    data_frames,
    encode,
    route,
    while_connected,
)
from gateway.surfaces.mlflow_requests import Unprocessable, fault
from gateway.surfaces.refusals import headers_of, status_of
from gateway.types import JSON, Answer, EndpointType

_PAGE = 3000
"""Entries per page of a list, as in the original."""


class NotListed(UnknownEndpoint):
    """A name that none of the lists has, in MLflow's words."""

    def __init__(self, word: Literal["endpoint", "route"], name: str) -> None:
        super().__init__(name)
        self.message = (
            f"The {word} '{name}' is not present or active on the server."
            f" Please verify the {word} name."
        )


class MlflowSurface:
    """What MLflow's clients, its UI and LangChain's classes call."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """Routes at the root; invocations under both generations' prefixes."""
        handlers = {
            "/api/2.0/endpoints/": self._endpoints,
            "/api/2.0/gateway/routes/": self._routes,
            "/api/2.0/endpoints/limits/{name}": _no_limits,
            "/api/2.0/gateway/limits/{name}": _no_limits,
            "/api/2.0/endpoints/{name}": self._endpoint,
            "/api/2.0/gateway/routes/{name}": self._route,
            "/api/3.0/gateway/endpoint/{name}": self._endpoint,
            "/api/3.0/gateway/route/{name}": self._traffic_route,
        }
        return [
            route("POST", "/gateway/{name}/invocations", self._invoke, mlflow_refusal),
            route("POST", "/endpoints/{name}/invocations", self._invoke, mlflow_refusal),
            *(route("GET", path, handler, mlflow_refusal) for path, handler in handlers.items()),
            route("POST", "/api/2.0/endpoints/limits/", _set_no_limits, mlflow_refusal),
            route("POST", "/api/2.0/gateway/limits/", _set_no_limits, mlflow_refusal),
        ]

    async def _invoke(self, call: Call) -> Reply:
        name = call.parameter("name")
        kind, declared_as = await self._found(call, name)
        body = await json_body(call)
        dialect = dialect_of(
            declared_as,
            user_agent=call.header(b"user-agent"),
            body=body,
            prefix=call.path.split("/", 2)[1],
        )
        request = asked(kind, dialect, body)
        if request.pop("stream", None):
            return await while_connected(call.receive, begun(self._gateway, call, kind, request))
        answer = await while_connected(call.receive, answer_of(self._gateway, call, kind, request))
        return Whole(answered(kind, dialect, answer))

    async def _found(
        self, call: Call, name: str
    ) -> tuple[EndpointType, Literal["routes", "endpoints"]]:
        """What a name leads to; counts the call where the entry has a `limit:`."""
        catalog = self._gateway.catalog
        if (traffic := catalog.routes.get(name)) is not None:
            return traffic.endpoint_type, "endpoints"
        endpoint = catalog.endpoints.get(name)
        if endpoint is None:
            raise NotListed("endpoint", name)
        if endpoint.limit is not None:
            prefix = call.path.split("/", 2)[1]
            counting = self._gateway.quota.spend(endpoint.limit, prefix, name, call.host)
            if counting is not None:
                await counting
        return endpoint.endpoint_type, endpoint.declared_as

    async def _endpoints(self, call: Call) -> Reply:
        return self._listed(call, "endpoint")

    async def _routes(self, call: Call) -> Reply:
        return self._listed(call, "route")

    async def _endpoint(self, call: Call) -> Reply:
        return self._shown(call.parameter("name"), "endpoint")

    async def _route(self, call: Call) -> Reply:
        return self._shown(call.parameter("name"), "route")

    async def _traffic_route(self, call: Call) -> Reply:
        name = call.parameter("name")
        found = self._gateway.catalog.routes.get(name)
        if found is None:
            raise NotListed("route", name)
        total = sum(share for _, share in found.shares)
        shares: JSON = [
            {"name": destination, "traffic_percentage": round(100 * share / total)}
            for destination, share in found.shares
        ]
        return Whole(
            encode(
                {
                    "name": name,
                    "task_type": found.endpoint_type,
                    "destinations": shares,
                    "routing_strategy": "TRAFFIC_SPLIT",
                }
            )
        )

    def _listed(self, call: Call, word: Literal["endpoint", "route"]) -> Reply:
        start = _page_start(call.query("page_token"))
        endpoints = list(self._gateway.catalog.endpoints.values())
        page = [_described(endpoint, word) for endpoint in endpoints[start : start + _PAGE]]
        more = start + _PAGE < len(endpoints)
        token = _page_token(start + _PAGE) if more else None
        return Whole(encode({f"{word}s": page, "next_page_token": token}))

    def _shown(self, name: str, word: Literal["endpoint", "route"]) -> Reply:
        endpoint = self._gateway.catalog.endpoints.get(name)
        if endpoint is None:
            raise NotListed(word, name)
        return Whole(encode(_described(endpoint, word)))


def mlflow_refusal(error: GatewayError) -> Whole:
    """An error as MLflow's gateway shapes it."""
    body: Mapping[str, JSON] = {"detail": error.message}
    if isinstance(error, CallLimitExceeded):  # The original's one answer without `detail`.
        body = {"error": error.message}
    if isinstance(error, Unprocessable):
        body = {"detail": error.detail}
    return Whole(encode(body), status=status_of(error), headers=headers_of(error))


async def json_body(call: Call) -> dict[str, JSON]:
    """The body, or MLflow's complaint about it."""
    try:
        return await call.body()
    except NotAnObjectError as error:
        words = "Input should be a valid dictionary or object to extract fields from"
        found = fault("model_attributes_type", (), words, error.value)
        raise Unprocessable([found]) from error
    except NotJsonError as error:
        place, context = (error.position,), {"error": error.reason}
        raise Unprocessable(
            [fault("json_invalid", place, "JSON decode error", {}, **context)]
        ) from error


async def answer_of(
    gateway: Gateway, call: Call, kind: EndpointType, request: dict[str, JSON]
) -> Answer:
    """Ask, whatever the endpoint does."""
    name = call.parameter("name")
    match kind:
        case EndpointType.CHAT:
            return await gateway.chat(name, request, ticket=call.ticket)
        case EndpointType.COMPLETIONS:
            return await gateway.complete(name, request, ticket=call.ticket)
        case EndpointType.EMBEDDINGS:
            return await gateway.embed(name, request, ticket=call.ticket)


async def begun(
    gateway: Gateway, call: Call, kind: EndpointType, request: dict[str, JSON]
) -> EventStream:
    """Begin a stream; as in the original, token counts always close it."""
    name = call.parameter("name")
    request.setdefault("stream_options", {"include_usage": True})
    match kind:
        case EndpointType.CHAT:
            chunks = gateway.stream_chat(name, request, ticket=call.ticket)
        case EndpointType.COMPLETIONS:
            chunks = gateway.stream_complete(name, request, ticket=call.ticket)
        case _:
            raise Unprocessable("Embeddings are not streamed.")
    return await EventStream.begin(data_frames(chunks), failure=_event)


def _event(error: GatewayError) -> bytes:
    body = {"error": {"message": error.message, "type": type(error).__name__}}
    return data_frame(encode(body))


def _described(endpoint: Endpoint, word: Literal["endpoint", "route"]) -> dict[str, JSON]:
    limit = endpoint.limit
    return {
        "name": endpoint.name,
        f"{word}_type": endpoint.endpoint_type,
        "model": {"name": endpoint.model, "provider": endpoint.provider},
        # Its UI takes off the first character and finds the server by the rest.
        f"{word}_url": f"/gateway/{endpoint.name}/invocations",
        "limit": limit.model_dump() if limit is not None else None,
    }


def _page_start(token: str | None) -> int:
    if not token:
        return 0
    try:
        index = msgspec.json.decode(base64.b64decode(token, validate=True))["index"]
        return max(int(index), 0)
    except (
        binascii.Error, msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise InvalidRequest("Invalid page token.") from error


def _page_token(index: int) -> str:
    return base64.b64encode(encode({"index": index})).decode("ascii")


async def _no_limits(_: Call) -> Reply:
    return Whole(encode({"detail": "The get_limits API is not available yet."}), status=501)


async def _set_no_limits(_: Call) -> Reply:
    return Whole(encode({"detail": "The set_limits API is not available yet."}), status=501)
