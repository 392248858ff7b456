"""Batch: its states, and what a line of its input file must be (pure).

The words are those of OpenAI's Batch API; a batch is run as a job.
"""

import codecs
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import msgspec

from hikaku.datasets import SourceRow
from hikaku.jobs import is_text
from hikaku.specs import BODY_COLUMN, RequestPath

MAX_REQUESTS = 50_000
MAX_FILE_BYTES = 200 * 2**20
MAX_LINE_BYTES = 32 * 2**20
"""What the gateway takes as one request."""
MAX_FAULTS = 100
"""Lines that are complained about; the rest of the file is then not read."""
_MAX_ID_CHARACTERS = 512


class BatchState(StrEnum):
    """Where a batch stands."""

    VALIDATING = "validating"  #: Its file is being read.
    FAILED = "failed"  #: Its file was refused; `errors` says why.
    IN_PROGRESS = "in_progress"  #: Its job is running.
    FINALIZING = "finalizing"  #: Its requests have ended, or its time; its files are next.
    COMPLETED = "completed"  #: Every request was answered or has failed.
    EXPIRED = "expired"  #: Its time was up; what was answered by then is in its files.
    CANCELLING = "cancelling"  #: Requests in flight are finishing.
    CANCELLED = "cancelled"  #: Stopped on request; what was answered is in its files.

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens."""
        return self in _FINAL


_FINAL = frozenset(
    {BatchState.FAILED, BatchState.COMPLETED, BatchState.EXPIRED, BatchState.CANCELLED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFault:
    """Why a file is refused."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None
    """From 1; None when it is the file's own."""

    def document(self) -> dict[str, Any]:
        """Write it down."""
        return asdict(self)


class RefusedLineError(Exception):
    """A line that is no request of this batch."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


Check = Callable[[str], str | None]
"""Says what is wrong with the name of a model; None when it can be asked."""


class RequestReader:
    """Reads the requests out of a file, and notes what is wrong with it."""

    def __init__(self, path: RequestPath, check: Check) -> None:
        self.faults: list[LineFault] = []
        self.model: str | None = None
        """The one that all requests name."""
        self.n_requests = 0
        self._path = path
        self._check = check
        self._ids: set[str] = set()

    def rows(self, chunks: Iterable[bytes]) -> Iterator[SourceRow]:
        """Give the requests as rows until a line is refused; then only look for more faults."""
        for number, line in enumerate(_lines(chunks), start=1):
            if not line.strip():
                continue
            try:
                row = self._row(line)
            except RefusedLineError as refused:
                self._refuse(refused, number)
                if len(self.faults) == MAX_FAULTS or refused.code == "too_many_tasks":
                    return
                continue
            if not self.faults:
                yield row
        if not self.n_requests and not self.faults:
            self.faults.append(LineFault(code="empty_file", message="The input file is empty."))

    def _refuse(self, refused: RefusedLineError, number: int) -> None:
        fault = LineFault(
            code=refused.code, message=refused.message, param=refused.param, line=number
        )
        self.faults.append(fault)

    def _row(self, line: bytes) -> SourceRow:
        if self.n_requests == MAX_REQUESTS:
            limit = f"A batch holds at most {MAX_REQUESTS:,} requests; split the file."
            raise RefusedLineError("too_many_tasks", limit)
        request = _request(line)
        custom_id = self._custom_id(request)
        self._check_way(request)
        body = _given(request, "body", dict)
        self._check_model(_given(body, "model", str, "body.model"))
        self.n_requests += 1
        return SourceRow(
            number=self.n_requests - 1,
            key=custom_id,
            data={"custom_id": custom_id, BODY_COLUMN: body},
            text=line.decode("utf-8"),
        )

    def _custom_id(self, request: dict[str, Any]) -> str:
        custom_id = str(_given(request, "custom_id", str))
        if not custom_id or len(custom_id) > _MAX_ID_CHARACTERS or not is_text(custom_id):
            wanted = f"'custom_id' must be a text of 1 to {_MAX_ID_CHARACTERS} characters."
            raise RefusedLineError("invalid_value", wanted, "custom_id")
        if custom_id in self._ids:
            message = (
                f"The custom_id {custom_id!r} stands in an earlier line; each request of a batch"
                " needs its own."
            )
            raise RefusedLineError("duplicate_custom_id", message, "custom_id")
        self._ids.add(custom_id)
        return custom_id

    def _check_way(self, request: dict[str, Any]) -> None:
        method = _given(request, "method", str)
        if method != "POST":
            message = f"Invalid value: {method!r}. Supported values are: 'POST'."
            raise RefusedLineError("invalid_value", message, "method")
        url = _given(request, "url", str)
        if url != self._path.value:
            message = f"The URL {url!r} is not the endpoint of the batch, {self._path.value!r}."
            raise RefusedLineError("url_mismatch", message, "url")

    def _check_model(self, model: str) -> None:
        if self.model is None:
            if (complaint := self._check(model)) is not None:
                raise RefusedLineError("model_not_found", complaint, "body.model")
            self.model = model
        elif model != self.model:
            message = (
                f"The model {model!r} is not that of the lines before, {self.model!r}; all requests"
                " of a batch go to one model."
            )
            raise RefusedLineError("model_mismatch", message, "body.model")


def _request(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        limit = f"This line is longer than {MAX_LINE_BYTES // 2**20} MiB."
        raise RefusedLineError("invalid_json_line", limit)
    try:
        request = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"This line is not parseable as valid JSON: {error}"
        raise RefusedLineError("invalid_json_line", message) from error
    if not isinstance(request, dict):
        raise RefusedLineError("invalid_json_line", "This line is not a JSON object.")
    return request


def _given(request: dict[str, Any], name: str, kind: type, param: str | None = None) -> Any:  # noqa: ANN401 - as it is found
    value = request.get(name)
    if value is None:
        message = f"Missing required parameter: '{param or name}'."
        raise RefusedLineError("missing_required_parameter", message, param or name)
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a string"
        message = f"Invalid type for '{param or name}': expected {wanted}."
        raise RefusedLineError("invalid_type", message, param or name)
    return value


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a file at its line feeds; of a line that is too long, no more is held than shows it."""
    waiting, is_first = bytearray(), True
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for piece in whole:
            waiting += piece
            yield _line(waiting, first=is_first)
            waiting, is_first = bytearray(), False
        if len(waiting) <= MAX_LINE_BYTES:
            waiting += rest
    yield _line(waiting, first=is_first)


def _line(held: bytearray, *, first: bool) -> bytes:
    line = bytes(held)
    return line.removeprefix(codecs.BOM_UTF8) if first else line
