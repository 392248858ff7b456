"""The YAML of endpoints (MLflow 2.8 `routes:`, 2.9-3.x `endpoints:`, ours) to a `Catalog`."""

from gateway.config.additions import (
    BatchApi,
    Breaker,
    Budget,
    Cache,
    CallLimit,
    FailureClass,
    Fallback,
    Health,
    Limits,
    Price,
    Rates,
    Retry,
    Timeouts,
)
from gateway.config.catalog import Account, Catalog, Endpoint, ReplicaAddress, TrafficRoute
from gateway.config.compatible import Habits
from gateway.config.loading import load, parse, text_of
from gateway.config.prices import cost
from gateway.config.vendors import VENDORS, Wire

__all__ = [
    "Account",
    "BatchApi",
    "Breaker",
    "Budget",
    "Cache",
    "CallLimit",
    "Catalog",
    "Endpoint",
    "FailureClass",
    "Fallback",
    "Habits",
    "Health",
    "Limits",
    "Price",
    "Rates",
    "ReplicaAddress",
    "Retry",
    "Timeouts",
    "TrafficRoute",
    "Wire",
    "cost",
    "habits_of",
    "load",
    "parse",
    "text_of",
]


def habits_of(endpoint: Endpoint) -> Habits:
    """How the endpoint's vendor departs from OpenAI's protocol."""
    return VENDORS[endpoint.provider].habits
