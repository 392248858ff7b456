"""An ended job, read once: all that is told of it except its cells."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from hikaku.comparison import Column
from hikaku.jobs import JobState
from hikaku.specs import Snapshot
from hikaku.storage.jobs import EndpointProgress


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackedJob:
    """An ended job."""

    id: str
    name: str
    state: JobState
    round: int
    started_at: datetime
    finished_at: datetime
    url: str
    """Where people find it in Hikaku."""
    snapshot: Snapshot
    progress: Mapping[int, EndpointProgress]
    """By the endpoint's position."""
    columns: tuple[Column, ...]
    """Each endpoint summed up and held against the baseline, in the job's order."""
