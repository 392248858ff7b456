"""What the model server refuses, with TGI's status and error type for it.

* ModelServerError
  + ValidationError        422: the request cannot be served as written
  + OverloadedError        429: as many requests in flight as are admitted
  + GenerationError        424: the runtime failed in the middle
  + NotReadyError          503: the weights are missing, or still on their way
"""

from http import HTTPStatus


class ModelServerError(Exception):
    """Root of what is answered with a JSON error."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR
    kind = "incomplete_generation"
    """TGI's word for it, in `error_type`."""


class ValidationError(ModelServerError):
    """The request cannot be served as written."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY
    kind = "validation"

    def __init__(self, message: str, *, kind: str = "validation") -> None:
        super().__init__(f"Input validation error: {message}")
        self.kind = kind


class OverloadedError(ModelServerError):
    """As many requests are in flight as are admitted."""

    status = HTTPStatus.TOO_MANY_REQUESTS
    kind = "overloaded"

    def __init__(self) -> None:
        super().__init__("Model is overloaded")


class GenerationError(ModelServerError):
    """The runtime failed in the middle."""

    status = HTTPStatus.FAILED_DEPENDENCY
    kind = "generation"

    def __init__(self, message: str) -> None:
        super().__init__(f"Request failed during generation: {message}")


class NotReadyError(ModelServerError):
    """The weights are missing, or still on their way."""

    status = HTTPStatus.SERVICE_UNAVAILABLE
    kind = "healthcheck"

    def __init__(self, message: str, *, percent: int | None = None) -> None:
        super().__init__(message)
        self.percent = percent
        """How much of the file has been downloaded."""
