"""Our own keys of an entry, under both generations of MLflow's: limits, time, money, pools."""

from decimal import Decimal
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_DAY = 86_400


class Closed(BaseModel):
    """A part of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CallLimit(Closed):
    """MLflow's `limit:`: calls of one remote address per period."""

    calls: int = Field(ge=1)
    renewal_period: Literal["second", "minute", "hour", "day", "month", "year"]
    key: str | None = None


class Rates(Closed):
    """How much may be asked for."""

    concurrency: int | None = Field(default=None, ge=1, le=100_000)
    """Calls at once."""
    rpm: float | None = Field(default=None, gt=0)
    """Calls per minute, retries included."""
    tpm: float | None = Field(default=None, gt=0)
    """Tokens per minute, in and out; estimated before a call, corrected after it."""


class Limits(Rates):
    """How hard an endpoint may be pushed; calls beyond wait their turn."""

    per_key: Rates | None = None
    """How much one caller may ask for; calls beyond are refused with 429."""
    max_wait: float | None = Field(default=None, ge=0, le=_DAY)
    """Seconds a call waits for its turn before it is refused with 429; null: as long as the
    program says, which is for ever in jobs and some seconds where somebody waits."""


class AccountEntry(Rates):
    """The provider's account behind several endpoints, and what they may ask for together."""

    name: str | None = Field(default=None, min_length=1, max_length=200)
    """Endpoints with the same name share; null: those with the same provider, address and key."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        return {"name": value} if isinstance(value, str) else value


class Timeouts(Closed):
    """Seconds."""

    connect: float = Field(default=10, gt=0, le=600)
    first_byte: float | None = Field(default=None, gt=0, le=_DAY)
    """From sending to the first byte of the answer; null: `idle` for streams, `total` else."""
    idle: float = Field(default=120, gt=0, le=_DAY)
    """Between two pieces of a stream."""
    total: float = Field(default=300, gt=0, le=_DAY)
    """One whole call, from sending to the last byte."""


class Retry(Closed):
    """The single retry layer."""

    max_attempts: int = Field(default=5, ge=1, le=100)
    deadline: float = Field(default=600, gt=0, le=_DAY)
    """Seconds after the first call in which another may still begin."""
    base: float = Field(default=0.5, ge=0, le=600)
    """Seconds before the second attempt; doubles from then on."""
    cap: float = Field(default=30, ge=0, le=3_600)


class Price(Closed):
    """What tokens cost; None is "not known", never "free"."""

    input_usd_per_million_tokens: Decimal | None = Field(default=None, ge=0)
    output_usd_per_million_tokens: Decimal | None = Field(default=None, ge=0)
    cached_input_usd_per_million_tokens: Decimal | None = Field(default=None, ge=0)
    """Of input tokens that the provider read from its own cache; null: as other input."""


class Budget(Closed):
    """How much an endpoint may cost in a period; needs `price:`."""

    usd: Decimal = Field(gt=0)
    period: Literal["hour", "day", "month"] = "day"
    """Of UTC; a month is 30 days."""
    per_key: bool = False
    """Whether every caller has this much, instead of all together."""


class Cache(Closed):
    """Answers that are given again to the same request, for callers that allow it."""

    ttl: float = Field(default=3_600, gt=0, le=365 * _DAY)
    """Seconds."""
    when: Literal["deterministic", "always"] = "deterministic"
    """`deterministic`: only requests with temperature 0 for one answer, and embeddings."""


class ReplicaUrl(Closed):
    """One server of a pool; a bare URL in the file means all the rest as it stands."""

    url: str = Field(max_length=2_000)
    """May be `$NAME` or `env:NAME`."""
    weight: float = Field(default=1, gt=0, le=1e6)
    """Share of the calls when replicas are equally busy."""
    concurrency: int | None = Field(default=None, ge=1, le=100_000)
    """Calls at once; null: what the server's `/info` tells, else no limit."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        return {"url": value} if isinstance(value, str) else value


class Health(Closed):
    """How replicas of a pool are probed, apart from the calls themselves."""

    path: str | None = "/health"
    """Asked by GET at the server's root; null probes nothing."""
    interval: float = Field(default=5, gt=0, le=3_600)
    timeout: float = Field(default=2, gt=0, le=600)
    failures: int = Field(default=2, ge=1, le=100)
    """Failed probes in a row after which a replica gets no calls."""

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        if path is not None and (not path.startswith("/") or urlsplit(path).netloc):
            raise ValueError("must be a path that begins with `/`")
        return path


class Breaker(Closed):
    """When a server that keeps failing is left alone, and for how long."""

    failures: int | None = Field(default=None, ge=1, le=10_000)
    """Failures in a row; null: 10, of one replica among several 3."""
    open: float = Field(default=5, gt=0, le=3_600)
    """Seconds until one call probes it again; doubles while that fails."""
    max_open: float = Field(default=60, gt=0, le=3_600)
    enabled: bool = True


FailureClass = Literal[
    "rate_limited", "quota", "timeout", "unavailable", "malformed", "access", "refused",
    "invalid_request",
]  # fmt: skip
"""What kind of failure passes a request on to a fallback."""

PASSED_ON: tuple[FailureClass, ...] = (
    "rate_limited", "quota", "timeout", "unavailable", "malformed", "access",
)  # fmt: skip
"""All but those that another model would meet as well, or that are an answer."""


class Fallback(Closed):
    """One substitute; a bare name in the file takes every failure of the servers' making."""

    endpoint: str
    when: tuple[FailureClass, ...] = Field(default=PASSED_ON, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        return {"endpoint": value} if isinstance(value, str) else value


class BatchApi(Closed):
    """Whether jobs may run through the vendor's own batch interface, at its lower price."""

    enabled: bool = False
    price_factor: Decimal = Field(default=Decimal("0.5"), ge=0, le=1)
    """What a batch call costs beside an online one."""
    max_requests: int | None = Field(default=None, ge=1)
    """Of one batch, where the vendor takes less than it is known to take."""
    max_bytes: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the file holds
        return {"enabled": value} if isinstance(value, bool) else value
