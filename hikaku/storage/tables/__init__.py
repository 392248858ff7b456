"""The tables. Postgres is the queue of record and the only memory.

`dataset_row`, `cell_result`, `cell_response`, `attempt`, `score` and `file_chunk` are partitioned
by `bucket` from the start: a bucket is closed at about 25 million rows, and retention is
detach and drop, never delete.
"""

from hikaku.storage.tables.datasets import Dataset, DatasetRevision, DatasetRow
from hikaku.storage.tables.declaration import Base
from hikaku.storage.tables.files import Batch, File, FileChunk
from hikaku.storage.tables.idempotency import IdempotencyKey
from hikaku.storage.tables.jobs import RECORDED, Job, JobEvent, Project, Shard, Worker
from hikaku.storage.tables.money import (
    Budget,
    BudgetKind,
    InFlightCompletion,
    JobEstimate,
    Reservation,
)
from hikaku.storage.tables.offload import Offload
from hikaku.storage.tables.prompts import PromptTemplate, PromptVersion
from hikaku.storage.tables.responses import CellResponse
from hikaku.storage.tables.results import AttemptLine, CellResult, RecordedCompletion, Score
from hikaku.storage.tables.schedules import Schedule, Slot
from hikaku.storage.tables.summaries import Bucket, ShardSummary
from hikaku.storage.tables.tracking import Tracking
from hikaku.storage.tables.usage import UsageCall, UsageHour, UsagePrice

__all__ = [
    "RECORDED",
    "AttemptLine",
    "Base",
    "Batch",
    "Bucket",
    "Budget",
    "BudgetKind",
    "CellResponse",
    "CellResult",
    "Dataset",
    "DatasetRevision",
    "DatasetRow",
    "File",
    "FileChunk",
    "IdempotencyKey",
    "InFlightCompletion",
    "Job",
    "JobEstimate",
    "JobEvent",
    "Offload",
    "Project",
    "PromptTemplate",
    "PromptVersion",
    "RecordedCompletion",
    "Reservation",
    "Schedule",
    "Score",
    "Shard",
    "ShardSummary",
    "Slot",
    "Tracking",
    "UsageCall",
    "UsageHour",
    "UsagePrice",
    "Worker",
]
