"""The shapes of the server's answers, as far as this client reads them."""

from typing import Literal, NotRequired, TypedDict

Json = dict[str, "Json"] | list["Json"] | str | int | float | bool | None
"""Any JSON value."""

FINAL_STATES = frozenset({"completed", "completed_with_errors", "failed", "cancelled"})
"""States in which nothing more happens to a job without a new request."""

FAILED_OUTCOMES = (
    "invalid_request",
    "rate_limited",
    "timeout",
    "provider_error",
    "malformed",
    "budget_skipped",
)
"""Outcomes that "retry failed" takes up again."""

RETRIED_OUTCOMES = (*FAILED_OUTCOMES, "cancelled")
"""Outcomes that it takes up when they are named."""

UNANSWERED_OUTCOMES = (*FAILED_OUTCOMES, "refused", "cancelled")
"""Outcomes without a completion to score: shown beside every score, never counted as zero."""


class Counts(TypedDict):
    """Cells of a job or of one endpoint, per outcome."""

    total: int
    done: int
    pending: int
    failed: int
    ok: NotRequired[int]
    truncated: NotRequired[int]
    refused: NotRequired[int]
    invalid_request: NotRequired[int]
    rate_limited: NotRequired[int]
    timeout: NotRequired[int]
    provider_error: NotRequired[int]
    malformed: NotRequired[int]
    budget_skipped: NotRequired[int]
    cancelled: NotRequired[int]


class Tokens(TypedDict):
    """Tokens as the providers reported them; None where none did."""

    input: int | None
    output: int | None


class JobEndpoint(TypedDict):
    """One endpoint of a job, and how far it is."""

    name: str
    provider: NotRequired[str]
    model: NotRequired[str | None]
    counts: NotRequired[Counts]


class JobDataset(TypedDict):
    """The rows of a job."""

    id: str
    name: str | None
    revision: int | None
    n_rows: int


class JobScorer(TypedDict):
    """A scorer of a job."""

    name: str
    type: str


class MlflowLink(TypedDict):
    """Where a job is in MLflow."""

    state: Literal["off", "pending", "synced"]
    run_id: NotRequired[str | None]
    url: NotRequired[str | None]
    error: NotRequired[str | None]


class BudgetAnswer(TypedDict):
    """What may be spent, and what has been; amounts are decimal strings."""

    limit_usd: str
    spent_usd: str
    reserved_usd: str
    left_usd: str


class Between(TypedDict):
    """A number and its interval; money as decimal strings."""

    value: float | str
    low: float | str
    high: float | str


class Needs(TypedDict):
    """What a job or an endpoint needs; None where a pilot says nothing of it."""

    calls: Between | None
    input_tokens: Between | None
    output_tokens: Between | None
    cost_usd: Between | None
    seconds: Between | None


class EndpointNeeds(Needs):
    """What one endpoint needs."""

    name: str
    in_flight: int
    tried: int
    failed: int


class PilotAnswer(TypedDict):
    """The pilot itself."""

    job: str
    cells: int
    failed: int
    calls: int
    cost_usd: str | None


class Caution(TypedDict):
    """Something the reader of figures must know."""

    code: str
    message: str


class EstimateAnswer(Needs):
    """What a job will need beyond its pilot."""

    confidence: float
    is_complete: bool
    endpoints: list[EndpointNeeds]
    pilot: PilotAnswer
    notes: NotRequired[list[Caution]]


class VendorBatchesAnswer(TypedDict):
    """`vendor_batches` of a job."""

    waiting: int
    running: int
    ended: int
    given_up: int
    requests: int
    error: str | None


class JobAnswer(TypedDict):
    """`GET /jobs/{id}`."""

    id: str
    name: str | None
    state: str
    created_at: str
    started_at: NotRequired[str | None]
    finished_at: NotRequired[str | None]
    error: NotRequired[str | None]
    counts: Counts
    calls: NotRequired[int]
    repeated_calls: NotRequired[int]
    vendor_batches: NotRequired[VendorBatchesAnswer | None]
    reused: NotRequired[int]
    rate_per_second: NotRequired[float | None]
    eta_seconds: NotRequired[float | None]
    cost_usd: NotRequired[str | None]
    cost_unknown_calls: NotRequired[int]
    paused_for: NotRequired[str | None]
    budget: NotRequired[BudgetAnswer | None]
    estimate: NotRequired[EstimateAnswer | None]
    tokens: NotRequired[Tokens]
    endpoints: NotRequired[list[JobEndpoint]]
    dataset: NotRequired[JobDataset]
    scorers: NotRequired[list[JobScorer]]
    repeats: NotRequired[int]
    baseline: NotRequired[str]
    tags: NotRequired[dict[str, str]]
    mlflow: NotRequired[MlflowLink]


class Score(TypedDict):
    """One scorer's verdict; `value` is None when it could not judge."""

    value: float | None
    unscored: NotRequired[str | None]
    detail: NotRequired[str | None]


class CellAnswer(TypedDict):
    """One (row, endpoint, repeat) of a job."""

    id: str
    row: int
    row_key: NotRequired[str]
    endpoint: str
    repeat: int
    outcome: str
    completion: NotRequired[str | None]
    finish_reason: NotRequired[str | None]
    input_tokens: NotRequired[int | None]
    output_tokens: NotRequired[int | None]
    latency_ms: NotRequired[float | None]
    cost_usd: NotRequired[str | None]
    error: NotRequired[str | None]
    attempts: NotRequired[int]
    reused: NotRequired[bool]
    variables: NotRequired[dict[str, Json]]
    scores: NotRequired[dict[str, Score]]


class Estimate(TypedDict):
    """Mean score of one column with its interval."""

    n: int
    cells: NotRequired[int]
    coverage: float
    mean: float | None
    low: float | None
    high: float | None
    method: NotRequired[str | None]


class Paired(TypedDict):
    """Difference to the baseline on the rows both scored."""

    pairs: int
    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    method: NotRequired[str | None]
    wins: int
    losses: int
    ties: int


class Latency(TypedDict):
    """Percentiles in milliseconds."""

    p50: float | None
    p95: float | None


class Column(TypedDict):
    """One endpoint of one job in a comparison."""

    job: str
    endpoint: str
    model: NotRequired[str | None]
    cells: int
    outcomes: dict[str, int]
    scores: dict[str, Estimate]
    latency_ms: Latency
    tokens: Tokens
    cost_usd: NotRequired[str | None]
    versus_baseline: dict[str, Paired] | None


class Baseline(TypedDict):
    """The column the others are held against."""

    job: str
    endpoint: str


class ComparisonAnswer(TypedDict):
    """`GET /comparisons`."""

    baseline: Baseline
    confidence: float
    columns: list[Column]
    warnings: list[Caution]


class DatasetAnswer(TypedDict):
    """One revision of a dataset."""

    id: str
    name: str | None
    revision: int | None
    rows: int
    columns: list[str]
    fingerprint: str
    created_at: str


class Slot(TypedDict):
    """One firing of a schedule."""

    fire_at: str
    state: str
    job_id: NotRequired[str | None]
    error: NotRequired[str | None]


class ScheduleAnswer(TypedDict):
    """A schedule and what it did lately."""

    id: str
    name: str
    cron: str
    time_zone: str
    missed_policy: str
    paused: bool
    next_fire_at: str | None
    next_fires: NotRequired[list[str]]
    last_slots: NotRequired[list[Slot]]


class EndpointAnswer(TypedDict):
    """An endpoint of the gateway."""

    name: str
    endpoint_type: str
    provider: str
    model: str | None
    available: bool
    reason: str | None


class ConfigAnswer(TypedDict):
    """The gateway's file, as the server goes by it."""

    path: str
    loaded_at: str | None
    error: str | None
    warnings: list[str]


class EndpointsAnswer(TypedDict):
    """All endpoints, and the file they come from; servers before 0.2 do not tell it."""

    data: list[EndpointAnswer]
    config: NotRequired[ConfigAnswer | None]


class UsedAnswer(TypedDict):
    """Sums of one group of calls."""

    group: str
    calls: int
    failed: int
    provider_calls: int
    cached: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None
    cost_unknown_calls: int
    of_jobs: int


class UsageAnswer(TypedDict):
    """`GET /usage`."""

    since: str
    until: str
    group_by: str
    data: list[UsedAnswer]


class Usage(TypedDict):
    """Tokens of one call."""

    input_tokens: int | None
    output_tokens: int | None


class ChatAnswer(TypedDict):
    """`POST /chat`."""

    endpoint: str
    completion: str
    finish_reason: str | None
    usage: Usage
    latency_ms: float | None
    model: NotRequired[str | None]
