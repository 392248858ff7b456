"""The gateway paths of MLflow 3's server: its own invocations, and OpenAI's interface."""

from starlette.routing import Route

from gateway.client import Gateway
from gateway.errors import GatewayError, InvalidRequest, UnknownEndpoint
from gateway.surfaces.exchange import (
    Call,
    NotAnObjectError,
    NotJsonError,
    Reply,
    Whole,
    encode,
    route,
    while_connected,
)
from gateway.surfaces.mlflow import answer_of, begun, mlflow_refusal
from gateway.surfaces.mlflow_requests import Unprocessable, check_request
from gateway.surfaces.openai import OpenAISurface
from gateway.types import JSON, EndpointType


class MlflowServerSurface:
    """What clients of `mlflow server`'s own gateway call."""

    def __init__(self, gateway: Gateway, openai: OpenAISurface) -> None:
        self._gateway = gateway
        self._openai = openai

    def routes(self) -> list[Route]:
        """Routes under `/gateway`."""
        chat, embed = self._openai.chat, self._openai.embed
        return [
            route("POST", "/gateway/{name}/mlflow/invocations", self._invoke, mlflow_refusal),
            route("POST", "/gateway/mlflow/v1/chat/completions", chat, server_refusal),
            route("GET", "/gateway/mlflow/v1/models", self._models, server_refusal),
            route("POST", "/gateway/openai/v1/chat/completions", chat, server_refusal),
            route("POST", "/gateway/openai/v1/embeddings", embed, server_refusal),
        ]

    async def _invoke(self, call: Call) -> Reply:
        name = call.parameter("name")
        try:
            body = await call.body()
        except (NotJsonError, NotAnObjectError) as error:
            raise InvalidRequest(f"Invalid JSON payload: {error.message}") from error
        self._gateway.endpoint(name)
        request: dict[str, JSON] = {key: value for key, value in body.items() if value is not None}
        kind = _kind_of(request)
        _check(kind, request)
        if request.pop("stream", None):
            return await while_connected(call.receive, begun(self._gateway, call, kind, request))
        answer = await while_connected(call.receive, answer_of(self._gateway, call, kind, request))
        return Whole(answer.raw)

    async def _models(self, _: Call) -> Reply:
        catalog = self._gateway.catalog
        names = sorted([*catalog.endpoints, *catalog.routes])
        models: JSON = [
            {"id": name, "object": "model", "created": 0, "owned_by": "mlflow"} for name in names
        ]
        return Whole(encode({"object": "list", "data": models}))


def server_refusal(error: GatewayError) -> Whole:
    """MLflow's form beside OpenAI's: SDKs of both read these paths."""
    refusal = mlflow_refusal(error)
    code = "model_not_found" if isinstance(error, UnknownEndpoint) else error.code
    body = {"detail": error.message, "error": {"message": error.message, "code": code}}
    return Whole(encode(body), status=refusal.status, headers=refusal.headers)


def _kind_of(request: dict[str, JSON]) -> EndpointType:
    if "messages" in request:
        return EndpointType.CHAT
    if "input" in request:
        return EndpointType.EMBEDDINGS
    raise InvalidRequest("Invalid request: payload format must be either chat or embeddings")


def _check(kind: EndpointType, request: dict[str, JSON]) -> None:
    try:
        check_request(kind, request, old=False)
    except Unprocessable as error:  # These paths call the same faults 400.
        what = "chat" if kind is EndpointType.CHAT else "embeddings"
        raise InvalidRequest(f"Invalid {what} payload: {error.message}") from error
