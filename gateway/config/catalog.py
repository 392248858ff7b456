"""The endpoints there are, resolved and frozen: one snapshot of the configuration."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Literal

from gateway.config.additions import (
    BatchApi,
    Breaker,
    Budget,
    Cache,
    CallLimit,
    Fallback,
    Health,
    Limits,
    Price,
    Rates,
    Retry,
    Timeouts,
)
from gateway.config.vendors import Wire
from gateway.types import JSON, EndpointType


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaAddress:
    """One server of a pool."""

    url: str
    weight: float = 1.0
    concurrency: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What endpoints have in common that are paid for together."""

    id: str
    """A name from the file, else a digest of provider, address and key; never the key."""
    limits: Rates = field(default_factory=Rates)

    @property
    def limited(self) -> bool:
        """Whether anything is known of its limits."""
        return self.limits != Rates()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A named way to a model."""

    name: str
    endpoint_type: EndpointType
    provider: str
    """As in `VENDORS`, whatever the file's spelling."""
    model: str | None
    settings: Mapping[str, JSON]
    """What decides the answers besides the model: base URL, defaults; never a secret."""
    fingerprint: str
    """SHA-256, hex, over provider, model, type and settings."""
    wire: Wire
    base_url: str | None = None
    """Of a pool, that of its first replica."""
    replicas: tuple[ReplicaAddress, ...] = ()
    """Empty unless the entry has `urls:`."""
    secret: str | None = field(default=None, repr=False)
    """The `api_key`, for the many providers that have no other secret."""
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Every setting marked as secret, by its name without the provider's; `api_key` too."""
    options: Mapping[str, JSON] = field(default_factory=dict[str, JSON], repr=False)
    """The provider's settings as parsed, without secrets."""
    params: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
    price: Price | None = None
    """The file's own, else the vendor's list price at the vendor's own address, else None."""
    price_source: str | None = None
    """Where it comes from: the file, or which version of the table, which page and when."""
    max_output_tokens: int | None = None
    """The most that the model writes in one answer, where the table of prices knows it."""
    limits: Limits = field(default_factory=Limits)
    account: Account | None = None
    limit: CallLimit | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: Retry = field(default_factory=Retry)
    health: Health = field(default_factory=Health)
    breaker: Breaker = field(default_factory=Breaker)
    fallback: tuple[Fallback, ...] = ()
    cache: Cache | None = None
    budget: Budget | None = None
    batch_api: BatchApi = field(default_factory=BatchApi)
    passthrough: bool = False
    declared_as: Literal["routes", "endpoints"] = "endpoints"
    """Which generation of MLflow's file the entry was written for."""
    unavailable: str | None = None
    """Why it cannot be used, in a sentence; None when it can."""

    @property
    def batch_price_factor(self) -> Decimal | None:
        """What a call costs by the vendor's batch interface beside an online one; None: no such."""
        speaks = self.wire in {Wire.OPENAI, Wire.ANTHROPIC}
        is_chat = self.endpoint_type is EndpointType.CHAT
        is_offered = self.batch_api.enabled and speaks and is_chat and self.unavailable is None
        return self.batch_api.price_factor if is_offered else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficRoute:
    """A name that stands for several endpoints, each with its share."""

    name: str
    endpoint_type: EndpointType
    shares: tuple[tuple[str, float], ...]
    """(endpoint, weight)."""
    sticky: bool = False
    """Whether requests with the same key go to the same endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything that can be asked, in the order of the file."""

    endpoints: Mapping[str, Endpoint] = field(default_factory=dict[str, Endpoint])
    routes: Mapping[str, TrafficRoute] = field(default_factory=dict[str, TrafficRoute])
    warnings: tuple[str, ...] = ()
    """What works, but not as its author may think; and endpoints that are not available."""
    files: tuple[Path, ...] = ()
    """Files besides the configuration itself that values were read from."""


def fingerprint(
    provider: str, model: str | None, endpoint_type: str, settings: Mapping[str, JSON]
) -> str:
    """Identity of an endpoint for reproducibility: same hash, same expected behaviour."""
    identity = {
        "provider": provider, "model": model, "type": endpoint_type, "settings": settings,
    }  # fmt: skip
    text = json.dumps(identity, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
