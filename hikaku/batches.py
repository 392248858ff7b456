"""Batch: its states, and what a line of its input file must be (pure).

The words are those of OpenAI's Batch API; a batch is run as a job.
"""

from enum import StrEnum


class BatchState(StrEnum):
    """Where a batch stands."""

    VALIDATING = "validating"  #: Its file is being read.
    FAILED = "failed"  #: Its file was refused; `errors` says why.
    IN_PROGRESS = "in_progress"  #: Its job is running.
    FINALIZING = "finalizing"  #: Its job has ended; its files are being written.
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
