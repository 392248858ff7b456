"""OpenAI's interface: `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings`, `/v1/models`."""

from collections.abc import AsyncGenerator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.client import Gateway
from gateway.errors import (
    GatewayError,
    InvalidRequest,
    PermanentError,
    QuotaExhausted,
    RateLimited,
    UnknownEndpoint,
)
from gateway.surfaces.exchange import (
    CLIENT_LEFT,
    ClientLeftError,
    EventStream,
    encode,
    json_response,
    read_body,
    retry_headers,
    while_connected,
)
from gateway.types import JSON, Answer

Ask = Callable[[str, dict[str, JSON]], Awaitable[Answer]]
Stream = Callable[[str, dict[str, JSON]], AsyncGenerator[bytes, None]]


class OpenAISurface:
    """Endpoints are models here: `model` names one."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    def routes(self) -> list[Route]:
        """Routes under `/v1`."""
        return [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/completions", self._complete, methods=["POST"]),
            Route("/v1/embeddings", self._embed, methods=["POST"]),
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/models/{name}", self._model, methods=["GET"]),
        ]

    async def _chat(self, request: Request) -> Response:
        return await self._asked(request, self._gateway.chat, self._gateway.stream_chat)

    async def _complete(self, request: Request) -> Response:
        return await self._asked(request, self._gateway.complete, self._gateway.stream_complete)

    async def _embed(self, request: Request) -> Response:
        return await self._asked(request, self._gateway.embed, None)

    async def _asked(self, request: Request, ask: Ask, stream: Stream | None) -> Response:
        try:
            body = await read_body(request)
            endpoint = _endpoint_of(body)
            if body.pop("stream", None) and stream is not None:
                chunks = stream(endpoint, body)
                return await while_connected(
                    request.receive, EventStream.begin(chunks, failure=error_body)
                )
            answer = await while_connected(request.receive, _awaited(ask(endpoint, body)))
        except GatewayError as error:
            return error_response(error)
        except ClientLeftError:
            return Response(status_code=CLIENT_LEFT)
        return json_response(answer.raw)

    async def _models(self, _: Request) -> Response:
        catalog = self._gateway.catalog
        models = [_model(name) for name in [*catalog.endpoints, *catalog.routes]]
        return json_response(encode({"object": "list", "data": models}))

    async def _model(self, request: Request) -> Response:
        name: str = request.path_params["name"]
        try:
            self._gateway.endpoint(name)
        except UnknownEndpoint as error:
            return error_response(error)
        return json_response(encode(_model(name)))


def error_body(error: GatewayError) -> bytes:
    """OpenAI's error object."""
    code = "model_not_found" if isinstance(error, UnknownEndpoint) else error.code
    kind = _type_of(error)
    return encode({"error": {"message": error.message, "type": kind, "param": None, "code": code}})


def error_response(error: GatewayError) -> Response:
    """OpenAI's error object, with the headers by which its SDKs decide whether to try again."""
    headers = retry_headers(error)
    if isinstance(error, PermanentError):
        headers["x-should-retry"] = "false"
    return json_response(error_body(error), status=error.http_status, headers=headers)


def _type_of(error: GatewayError) -> str:
    match error:
        case RateLimited():
            return "rate_limit_error"
        case QuotaExhausted():
            return "insufficient_quota"
        case UnknownEndpoint() | InvalidRequest():
            return "invalid_request_error"
        case _:
            return "api_error"


def _endpoint_of(body: dict[str, JSON]) -> str:
    name = body.pop("model", None)
    if not isinstance(name, str) or not name:
        raise InvalidRequest("you must provide a `model`: the name of an endpoint")
    return name


def _model(name: str) -> dict[str, JSON]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "hikaku"}


async def _awaited(answer: Awaitable[Answer]) -> Answer:
    return await answer
