"""The shape of the YAML: one model per kind of entry, chosen by the keys an entry has."""

from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.types import EndpointType


class Closed(BaseModel):
    """A part of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelEntry(Closed):
    """`model:` of an entry."""

    provider: str
    name: str | None = None
    config: dict[str, Any] | None = None


class CallLimit(Closed):
    """MLflow's `limit:`: calls of one remote address per period."""

    calls: int = Field(ge=1)
    renewal_period: Literal["second", "minute", "hour", "day", "month", "year"]
    key: str | None = None


class Limits(Closed):
    """How hard an endpoint may be pushed."""

    concurrency: int | None = Field(default=None, ge=1, le=100_000)
    rpm: float | None = Field(default=None, gt=0)
    """Calls per minute, retries included."""


class Timeouts(Closed):
    """Seconds."""

    connect: float = Field(default=10, gt=0, le=600)
    total: float = Field(default=300, gt=0, le=86_400)
    """One whole call, from sending to the last byte."""
    idle: float = Field(default=120, gt=0, le=86_400)
    """Between two pieces of a stream, the first included."""


class Retry(Closed):
    """The single retry layer."""

    max_attempts: int = Field(default=5, ge=1, le=100)
    deadline: float = Field(default=600, gt=0, le=86_400)
    """Seconds after the first call in which another may still begin."""
    base: float = Field(default=0.5, ge=0, le=600)
    """Seconds before the second attempt; doubles from then on."""
    cap: float = Field(default=30, ge=0, le=3_600)


class Price(Closed):
    """What tokens cost; None is "not known", never "free"."""

    input_usd_per_million_tokens: Decimal | None = Field(default=None, ge=0)
    output_usd_per_million_tokens: Decimal | None = Field(default=None, ge=0)


class Entry(Closed):
    """What both generations of endpoint entries share, ours included."""

    name: str = Field(min_length=1, max_length=200, pattern=r"^[\w.\-]+$")
    model: ModelEntry
    limit: CallLimit | None = None
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    price: Price | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    """Default sampling parameters; a request's own win."""


class EndpointEntry(Entry):
    """MLflow 2.9 and later."""

    endpoint_type: EndpointType


class RouteEntry(Entry):
    """MLflow 2.5 to 2.8."""

    route_type: EndpointType


class Destination(Closed):
    """One arm of a traffic route."""

    name: str
    traffic_percentage: int = Field(ge=0, le=100)


class TrafficEntry(Closed):
    """MLflow 3's traffic split."""

    name: str = Field(min_length=1, max_length=200, pattern=r"^[\w.\-]+$")
    task_type: EndpointType
    routing_strategy: Literal["TRAFFIC_SPLIT"] = "TRAFFIC_SPLIT"
    destinations: tuple[Destination, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _a_whole(self) -> "TrafficEntry":
        if (total := sum(d.traffic_percentage for d in self.destinations)) != 100:  # noqa: PLR2004 - per cent
            raise ValueError(f"traffic percentages add up to {total}, not to 100")
        return self


def entry_model(
    section: str, entry: dict[str, Any]
) -> type[EndpointEntry | RouteEntry | TrafficEntry]:
    """The kind of an entry, told by its own keys; the list it stands in is the last resort."""
    if "task_type" in entry or "destinations" in entry:
        return TrafficEntry
    if "endpoint_type" in entry:
        return EndpointEntry
    return RouteEntry if "route_type" in entry or section == "routes" else EndpointEntry
