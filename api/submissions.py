"""What jobs were submitted with, read once: it makes most of a job's answer and hardly changes."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from sqlalchemy import Connection

from hikaku.specs import Snapshot
from hikaku.storage import standings
from hikaku.storage.standings import Standing

_MOST_BYTES = 8 * 2**20
"""Of JSON; what was asked for longest ago goes first."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A snapshot, and what of it takes time to write."""

    snapshot: Snapshot
    params: Sequence[dict[str, Any]]
    """By endpoint, as they are shown."""
    n_bytes: int


class Submissions:
    """Keeps them by job and version; any thread may ask."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._kept: OrderedDict[tuple[str, int], Submission] = OrderedDict()
        self._most_bytes, self._n_bytes = most_bytes, 0
        self._lock = Lock()

    def read(self, asked: Connection, job_ids: Sequence[str]) -> list[tuple[Standing, Submission]]:
        """Read jobs in one statement, or in two if a snapshot is not known yet."""
        found = [(one, self._known(one)) for one in standings.of(asked, job_ids)]
        known = [(one, submission) for one, submission in found if submission is not None]
        if len(known) == len(found):
            return known
        return [(one, self._take(one)) for one in standings.of(asked, job_ids, whole=True)]

    def _known(self, one: Standing) -> Submission | None:
        with self._lock:
            found = self._kept.get((one.id, one.version))
            if found is not None:
                self._kept.move_to_end((one.id, one.version))
            return found

    def _take(self, one: Standing) -> Submission:
        written = bytes(one.snapshot)
        snapshot = Snapshot.model_validate_json(written)
        params = [e.params.model_dump(mode="json", exclude_none=True) for e in snapshot.endpoints]
        submission = Submission(snapshot, params, len(written))
        with self._lock:
            self._drop((one.id, one.version))
            self._kept[one.id, one.version] = submission
            self._n_bytes += submission.n_bytes
            while self._n_bytes > self._most_bytes:
                self._drop(next(iter(self._kept)))
        return submission

    def _drop(self, key: tuple[str, int]) -> None:
        gone = self._kept.pop(key, None)
        if gone is not None:
            self._n_bytes -= gone.n_bytes
