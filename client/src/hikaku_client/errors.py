"""What can go wrong for a user of this client, split by what they can do about it.

* HikakuError
  + NotReachable        nothing answers there: start a server, or name another
  + NotAllowed          the API key is missing or does not allow this
  + InvalidRequest      mend the request; `faults` say where
    - SpecError           the same for a spec file: names file, line and column
  + NotFound            the addressed thing does not exist
  + Conflict            the thing is in a state that forbids this
  + Unavailable         a provider or the server cannot answer now: try later
  + ServerFailed        the server broke; its log has the request id
  + WaitTimeout         the job goes on, the waiting ended
  + MissingExtra        install an optional package
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from typing_extensions import override


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing wrong with a request."""

    pointer: str
    """RFC 6901 JSON pointer into the request, or `line 3, column 7` of an upload."""

    message: str


class HikakuError(Exception):
    """Root of everything this client raises on purpose."""


class NotReachable(HikakuError):
    """No server answered."""


class MissingExtra(HikakuError):
    """An optional package is needed for this."""


class WaitTimeout(HikakuError):
    """The job had not ended when the time given to wait was over; it goes on."""


class Problem(HikakuError):
    """The server refused; what it said (RFC 9457) is kept."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        faults: Sequence[Fault] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.faults = tuple(faults)
        self.request_id = request_id

    @override
    def __str__(self) -> str:
        told = [fault for fault in self.faults if fault.message != self.message]
        return "\n".join([self.message, *(f"  {fault.pointer}: {fault.message}" for fault in told)])


class NotAllowed(Problem):
    """401 or 403."""


class InvalidRequest(Problem):
    """The request cannot be done as it is; nothing was stored."""


class NotFound(Problem):
    """404."""


class Conflict(Problem):
    """409: another state, or later."""


class Unavailable(Problem):
    """402, 424, 429, 502, 503 or 504: the same request may succeed later."""


class ServerFailed(Problem):
    """Any other 5xx, or an answer that is not one of Hikaku's."""


class SpecError(InvalidRequest):
    """A spec file is wrong; the message names file, line, column and the mend."""


def problem(
    status: int, answer: Mapping[str, object], *, reason: str, request_id: str | None
) -> Problem:
    """Turn a problem+json body into the error that says what to do."""
    detail = answer.get("detail") or answer.get("title") or reason
    code = answer.get("code")
    return _class(status)(
        str(detail),
        status=status,
        code=str(code) if code is not None else None,
        faults=_faults(answer.get("errors")),
        request_id=request_id,
    )


def _class(status: int) -> type[Problem]:
    match status:
        case 401 | 403:
            return NotAllowed
        case 404 | 410:
            return NotFound
        case 409:
            return Conflict
        case 402 | 424 | 429 | 502 | 503 | 504:
            return Unavailable
        case _ if 400 <= status < 500:  # noqa: PLR2004 - the classes of RFC 9110
            return InvalidRequest
        case _:
            return ServerFailed


def _faults(errors: object) -> list[Fault]:
    if not isinstance(errors, list):
        return []
    return [
        Fault(pointer=str(error.get("pointer", "")), message=str(error.get("message", "")))
        for error in errors
        if isinstance(error, dict)
    ]
