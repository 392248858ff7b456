"""Writes what came of a batch: one file of answers, one of errors, and the sums of both."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from sqlalchemy.orm import Session

from hikaku.jobs import Outcome
from hikaku.storage.batches import Written
from hikaku.storage.files import FileWriter
from hikaku.storage.responses import Answered
from hikaku.storage.tables import Batch

_OK = 200
_PURPOSE = "batch_output"

_EXPIRED = (
    "batch_expired",
    "This request could not be executed before the completion window expired.",
)
_CANCELLED = ("batch_cancelled", "This request was not executed: the batch was cancelled.")
_LOST = ("server_error", "This request was not executed; the job of the batch says why.")


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Reasoning(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    """Tokens in the words of chat, or of responses."""

    prompt_tokens: int | None = None
    input_tokens: int | None = None
    completion_tokens: int | None = None
    output_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None
    input_tokens_details: _Cached | None = None
    completion_tokens_details: _Reasoning | None = None
    output_tokens_details: _Reasoning | None = None


class _Body(msgspec.Struct):
    usage: _Usage | None = None


_BODY = msgspec.json.Decoder(_Body)
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Tokens:
    """What all answers together took."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    def add(self, body: str) -> None:
        """Add what an answer says of itself; one that says nothing adds nothing."""
        try:
            usage = _BODY.decode(body).usage
        except msgspec.DecodeError:
            return
        if usage is None:
            return
        cached = usage.prompt_tokens_details or usage.input_tokens_details or _Cached()
        thought = usage.completion_tokens_details or usage.output_tokens_details or _Reasoning()
        self.input += usage.prompt_tokens or usage.input_tokens or 0
        self.output += usage.completion_tokens or usage.output_tokens or 0
        self.cached += cached.cached_tokens or 0
        self.reasoning += thought.reasoning_tokens or 0

    def document(self) -> dict[str, Any]:
        """Write it as the batch's `usage`."""
        return {
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input + self.output,
        }


class BatchFiles:
    """Both files of one batch, in the making."""

    def __init__(self, session: Session, batch: Batch) -> None:
        self._batch = batch
        self._answers = FileWriter(session)
        self._errors = FileWriter(session)
        self._tokens = Tokens()
        self._completed = self._failed = self._missing = 0

    def write(self, answered: Answered) -> None:
        """Add the line of one request."""
        line = {
            "id": f"{self._batch.id.replace('_', '_req_', 1)}{answered.row:05d}",
            "custom_id": answered.key,
            "response": _response(answered),
            "error": None if answered.body is not None else self._error(answered),
        }
        written = _encode(line) + b"\n"
        if answered.status == _OK and answered.body is not None:
            self._completed += 1
            self._tokens.add(answered.body)
            self._answers.write(written)
        else:
            self._failed += 1
            self._errors.write(written)

    def written(self) -> Written:
        """Finish the files; one without a line is not there."""
        return Written(
            output_file_id=self._closed(self._answers, "output"),
            error_file_id=self._closed(self._errors, "error"),
            n_completed=self._completed,
            n_failed=self._failed,
            n_missing=self._missing,
            usage=self._tokens.document(),
        )

    def _error(self, answered: Answered) -> dict[str, str]:
        """Why a request has no answer, not even one that refuses it."""
        if answered.outcome not in {None, Outcome.CANCELLED}:
            return {"code": str(answered.outcome), "message": answered.error or "no answer"}
        self._missing += 1
        if self._batch.cancelling_at is not None:
            code, message = _CANCELLED
        else:
            code, message = _EXPIRED if self._batch.expiring_at is not None else _LOST
        return {"code": code, "message": message}

    def _closed(self, writer: FileWriter, what: str) -> str | None:
        if not writer.n_bytes:
            return None
        seconds = self._batch.output_lifetime
        lifetime = None if seconds is None else timedelta(seconds=seconds)
        return writer.close(
            name=f"{self._batch.id}_{what}.jsonl", purpose=_PURPOSE, lifetime=lifetime
        ).id


def _response(answered: Answered) -> dict[str, Any] | None:
    if answered.body is None:
        return None
    return {
        "status_code": answered.status,
        "request_id": answered.request_id,
        "body": msgspec.Raw(answered.body.encode()),
    }
