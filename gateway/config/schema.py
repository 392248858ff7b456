"""The shape of the YAML: one model per kind of entry, chosen by the keys an entry has."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from gateway.config.additions import (
    AccountEntry,
    BatchApi,
    Breaker,
    Budget,
    Cache,
    CallLimit,
    Closed,
    Fallback,
    Health,
    Limits,
    Price,
    ReplicaUrl,
    Retry,
    Timeouts,
)
from gateway.types import EndpointType

NAME = r"^[\w.\-]+$"
_WHOLE = 100
"""Per cent of a traffic route."""


_ASKED = ("messages", "prompt", "input", "model", "stream", "stream_options")


def _only_how(params: dict[str, Any]) -> dict[str, Any]:
    """Refuse defaults that would be taken for the question of whoever leaves them out."""
    found = [
        InitErrorDetails(
            type=PydanticCustomError("asked", "parameters say how, not what is asked of whom"),
            loc=(name,),
            input=value,
        )
        for name, value in params.items()
        if name in _ASKED
    ]
    if found:
        raise ValidationError.from_exception_data("params", found)
    return params


Params = Annotated[dict[str, Any], AfterValidator(_only_how)]


class ModelEntry(Closed):
    """`model:` of an entry."""

    provider: str
    name: str | None = None
    config: dict[str, Any] | None = None


class Entry(Closed):
    """What both generations of endpoint entries share, ours included."""

    name: str = Field(min_length=1, max_length=200, pattern=NAME)
    model: ModelEntry
    limit: CallLimit | None = None
    urls: tuple[ReplicaUrl, ...] | None = Field(default=None, min_length=1, max_length=1_000)
    """Replicas that serve the same model; instead of the address under `model.config`."""
    health: Health = Health()
    breaker: Breaker = Breaker()
    fallback: tuple[Fallback, ...] = Field(default=(), max_length=20)
    """Who is asked, in order, when this endpoint could not answer."""
    limits: Limits = Limits()
    account: AccountEntry = AccountEntry()
    """Whose limits besides; a bare name puts endpoints under one account."""
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()
    cache: Cache | None = None
    price: Price | None = None
    budget: Budget | None = None
    params: Params = Field(default_factory=dict)
    """Default sampling parameters; a request's own win."""
    batch_api: BatchApi = BatchApi()
    passthrough: bool = False
    """Whether requests that no surface knows may be passed to the provider as they are."""


class EndpointEntry(Entry):
    """MLflow 2.9 and later."""

    endpoint_type: EndpointType


class RouteEntry(Entry):
    """MLflow 2.5 to 2.8."""

    route_type: EndpointType


class Destination(Closed):
    """One arm of a traffic route: MLflow's per cent, or a weight of any size."""

    name: str
    traffic_percentage: int | None = Field(default=None, ge=0, le=_WHOLE)
    weight: float | None = Field(default=None, ge=0, le=1e9)

    @model_validator(mode="after")
    def _one_of_both(self) -> "Destination":
        if (self.traffic_percentage is None) == (self.weight is None):
            raise ValueError("give one of `traffic_percentage` and `weight`")
        return self

    @property
    def share(self) -> float:
        """In whichever of the two measures the route uses."""
        return float(self.weight if self.weight is not None else self.traffic_percentage or 0)


class TrafficEntry(Closed):
    """MLflow 3's traffic split."""

    name: str = Field(min_length=1, max_length=200, pattern=NAME)
    task_type: EndpointType
    routing_strategy: Literal["TRAFFIC_SPLIT"] = "TRAFFIC_SPLIT"
    destinations: tuple[Destination, ...] = Field(min_length=1)
    sticky: bool = False
    """Whether requests with the same key (header, or `user` of the body) stay together."""

    @model_validator(mode="after")
    def _a_whole(self) -> "TrafficEntry":
        kinds = {d.weight is None for d in self.destinations}
        if len(kinds) > 1:
            raise ValueError("use `traffic_percentage` everywhere, or `weight` everywhere")
        total = sum(d.share for d in self.destinations)
        if kinds == {True} and total != _WHOLE:
            raise ValueError(f"traffic percentages add up to {total:g}, not to {_WHOLE}")
        if total <= 0:
            raise ValueError("the weights add up to 0")
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
