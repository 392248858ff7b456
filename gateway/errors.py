"""The error tree of the gateway, split by what the caller can do.

* GatewayError
  + RetryableError        the same call may succeed later
    - RateLimited           the provider asks for patience (429, 529)
      . NoTurn                this gateway's own limits leave no turn in time
    - TimedOut              no answer in time
    - Unavailable           unreachable, cut off, or 5xx
      . Unreachable           no connection to the server, or one that broke
      . CircuitOpen           left alone after failures; nobody was asked
    - MalformedAnswer       answered with something that is not an answer
  + PermanentError        the same call fails again
    - InvalidRequest        the caller mends the request
      . UnsupportedParameter  a parameter that cannot be honoured exactly
      . WrongEndpointType     asked to chat with an embeddings endpoint, and the like
    - UnknownEndpoint       no endpoint bears this name
    - EndpointUnavailable   the endpoint is declared, but cannot be used as configured
    - AccessDenied          the provider does not accept the key
    - QuotaExhausted        the account behind the key has no money or quota left
      . BudgetExhausted       the operator's own budget for the endpoint is spent
    - ContentRefused        the provider's content filter stopped the request
  + ConfigError           the operator mends the file; it names line and column
"""

from datetime import timedelta
from enum import StrEnum
from http import HTTPStatus

from typing_extensions import override


class Outcome(StrEnum):
    """How one attempt at a model ended."""

    OK = "ok"
    REFUSED = "refused"
    INVALID_REQUEST = "invalid_request"
    RATE_LIMITED = "rate_limited"
    TIMEOUT = "timeout"
    PROVIDER_ERROR = "provider_error"
    MALFORMED = "malformed"


class GatewayError(Exception):
    """Root of everything the gateway raises on purpose."""

    outcome = Outcome.PROVIDER_ERROR
    answer_status = HTTPStatus.BAD_GATEWAY
    """Status that the gateway's own surfaces answer with when the provider sent none."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: timedelta | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param: str | None = None
        """The parameter at fault, where a provider names it; our own stand in `code`."""
        self.status = status
        """The provider's HTTP status; None when it sent none."""
        self.retry_after = retry_after
        self.code = code
        """The provider's own code, or the name of the parameter at fault."""

    @property
    def http_status(self) -> int:
        """Status for the caller of a surface."""
        return self.status if self.status is not None else int(self.answer_status)


class RetryableError(GatewayError):
    """The same call may succeed later."""


class RateLimited(RetryableError):
    """The provider asks for patience."""

    outcome = Outcome.RATE_LIMITED
    answer_status = HTTPStatus.TOO_MANY_REQUESTS


class NoTurn(RateLimited):
    """This gateway's own limits leave no turn in time; no provider was asked."""


class TimedOut(RetryableError):
    """No answer in time."""

    outcome = Outcome.TIMEOUT
    answer_status = HTTPStatus.GATEWAY_TIMEOUT


class Unavailable(RetryableError):
    """The provider could not be reached, cut the connection, or answered 5xx."""


class Unreachable(Unavailable):
    """No connection to the server, or one that broke before an answer."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail
        """For the log alone: it may tell where the server is."""


class CircuitOpen(Unavailable):
    """The server is left alone after failures in a row; nobody was asked."""

    answer_status = HTTPStatus.SERVICE_UNAVAILABLE


class MalformedAnswer(RetryableError):
    """The provider answered with something that is not an answer."""

    outcome = Outcome.MALFORMED

    @property
    @override
    def http_status(self) -> int:
        """Always 502: the provider's 200 says nothing here."""
        return int(HTTPStatus.BAD_GATEWAY)


class PermanentError(GatewayError):
    """The same call fails again."""

    outcome = Outcome.INVALID_REQUEST
    answer_status = HTTPStatus.BAD_REQUEST


class InvalidRequest(PermanentError):
    """The request can never succeed as it is."""


class UnsupportedParameter(InvalidRequest):
    """A parameter that this endpoint cannot honour exactly."""

    def __init__(self, parameter: str, reason: str) -> None:
        super().__init__(f"`{parameter}` cannot be honoured: {reason}", code=parameter)
        self.parameter = parameter


class WrongEndpointType(InvalidRequest):
    """The endpoint does something else than it was asked for."""


class UnknownEndpoint(PermanentError):
    """No endpoint bears this name."""

    answer_status = HTTPStatus.NOT_FOUND

    def __init__(self, name: str, near: str | None = None) -> None:
        hint = f"; did you mean `{near}`?" if near else ""
        super().__init__(f"there is no endpoint `{name}`{hint}")


class EndpointUnavailable(PermanentError):
    """The endpoint is declared, but cannot be used as it is configured."""

    outcome = Outcome.PROVIDER_ERROR
    answer_status = HTTPStatus.FAILED_DEPENDENCY


class AccessDenied(PermanentError):
    """The provider does not accept the key."""

    outcome = Outcome.PROVIDER_ERROR
    answer_status = HTTPStatus.FAILED_DEPENDENCY


class QuotaExhausted(PermanentError):
    """The account behind the key has no money or quota left; waiting does not help."""

    outcome = Outcome.RATE_LIMITED
    answer_status = HTTPStatus.PAYMENT_REQUIRED

    @property
    @override
    def http_status(self) -> int:
        """402 and not 429: clients retry a 429."""
        return int(HTTPStatus.PAYMENT_REQUIRED)


class BudgetExhausted(QuotaExhausted):
    """What the operator lets the endpoint cost in this period is spent; nobody was asked."""


class ContentRefused(PermanentError):
    """The provider's content filter stopped the request."""

    outcome = Outcome.REFUSED


class ConfigError(GatewayError):
    """The configuration cannot be used; the message shows the place."""

    def __init__(self, message: str, *, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
