"""How each surface words a failure: status, headers, body."""

from gateway.errors import (
    AccessDenied,
    ContentRefused,
    EndpointUnavailable,
    GatewayError,
    InvalidRequest,
    PermanentError,
    QuotaExhausted,
    RateLimited,
    TimedOut,
    UnknownEndpoint,
)
from gateway.surfaces.exchange import Whole, encode
from gateway.types import JSON

_NOT_IMPLEMENTED = 501
_FAILED_DEPENDENCY = 424
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def status_of(error: GatewayError) -> int:
    """Status for the caller.

    What fails for good is never 500, 502 or 503: MLflow's clients ask those again, eight times
    over four minutes. A status that is no failure (a redirect) is not passed on.
    """
    status = error.http_status
    if not isinstance(error, PermanentError):
        return status
    return status if 400 <= status < 500 or status == _NOT_IMPLEMENTED else _FAILED_DEPENDENCY  # noqa: PLR2004 - the class of client errors


def headers_of(error: GatewayError) -> dict[str, str]:
    """When to ask again, in whole seconds, rounded up; or, to SDKs that know the word, never."""
    if isinstance(error, PermanentError):
        return {"X-Should-Retry": "false"}
    if error.retry_after is None:
        return {}
    return {"Retry-After": str(-int(-error.retry_after.total_seconds() // 1))}


def openai_refusal(error: GatewayError) -> Whole:
    """OpenAI's error object."""
    return Whole(openai_body(error), status=status_of(error), headers=headers_of(error))


def openai_body(error: GatewayError) -> bytes:
    """OpenAI's error object, without the HTTP around it."""
    return encode({"error": openai_error(error)})


def openai_error(error: GatewayError) -> dict[str, JSON]:
    """What stands under `error`."""
    code = "model_not_found" if isinstance(error, UnknownEndpoint) else error.code
    param = error.param
    if isinstance(error, InvalidRequest) and error.status is None:
        param = error.code  # Of what is refused here, it is the parameter at fault.
    return {
        "message": error.message, "type": _openai_type(error), "param": param, "code": code,
    }  # fmt: skip


def anthropic_refusal(error: GatewayError) -> Whole:
    """Anthropic's error object."""
    return Whole(encode(anthropic_error(error)), status=status_of(error), headers=headers_of(error))


def anthropic_error(error: GatewayError) -> dict[str, JSON]:
    """Anthropic's error event, which is also the body of a refusal."""
    status = status_of(error)
    default = "api_error" if status >= 500 else "invalid_request_error"  # noqa: PLR2004 - the class of server errors
    if isinstance(error, EndpointUnavailable | AccessDenied):
        default = "api_error"
    kind = _ANTHROPIC_TYPES.get(status, default)
    return {"type": "error", "error": {"type": kind, "message": error.message}}


def refusal_at(path: str, status: int, message: str, code: str | None = None) -> bytes:
    """What the program before the surfaces answers, in the words of the surface at `path`.

    `code` stands at the top besides, where none of their clients looks.
    """
    kind = _ANTHROPIC_TYPES.get(status, "invalid_request_error")
    ours: dict[str, JSON] = {} if code is None else {"code": code}
    if path.startswith(("/anthropic/", "/gateway/anthropic/")):
        return encode(ours | {"type": "error", "error": {"type": kind, "message": message}})
    if path.startswith(("/v1/", "/gateway/mlflow/v1/", "/gateway/openai/v1/")):
        error: JSON = {"message": message, "type": kind, "param": None, "code": code}
        return encode(ours | {"error": error, "detail": message})
    return encode(ours | {"detail": message})


def _openai_type(error: GatewayError) -> str:
    match error:
        case RateLimited():
            return "rate_limit_error"
        case QuotaExhausted():
            return "insufficient_quota"
        case UnknownEndpoint() | InvalidRequest() | ContentRefused():
            return "invalid_request_error"
        case TimedOut():
            return "timeout_error"
        case _:
            return "api_error"
