"""What calls cost, and the table of public list prices: which model, by which page, as of when.

The table holds for a vendor's own address alone: who stands behind another one sets its own prices.
"""

import tomllib
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from pydantic import Field

from gateway.config.additions import Closed, Price
from gateway.types import Usage

_MILLION = Decimal(1_000_000)
_MOST_TOKENS = 2**31 - 1
"""Of one call; a provider that reports more, or less than none, has miscounted."""
FROM_FILE = "gateway file"
"""Source of a price that the gateway's file gives itself."""


class ListPrice(NamedTuple):
    """What a vendor's page says of one model."""

    price: Price
    source: str
    """Version of the table, page and month: all that a reader needs to doubt it."""
    max_output_tokens: int | None


class _Model(Closed):
    names: tuple[str, ...] = Field(min_length=1)
    input: Decimal = Field(ge=0)
    output: Decimal = Field(ge=0)
    cached_input: Decimal | None = Field(default=None, ge=0)
    max_output_tokens: int | None = Field(default=None, ge=1)
    as_of: str = Field(pattern=r"^\d{4}-\d{2}$")


class _Vendor(Closed):
    provider: str
    source: str = Field(pattern=r"^https://")
    models: tuple[_Model, ...]


class _Table(Closed):
    version: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    vendor: tuple[_Vendor, ...]


def list_price(provider: str, model: str | None) -> ListPrice | None:
    """Look a model up by its exact name; None is "not known"."""
    return _prices().get((provider, model or ""))


def cost(price: Price, usage: Usage) -> Decimal | None:
    """What a call cost in USD; None when a price or a count is not known, or cannot be one."""
    heard, cached = usage.input_tokens, usage.cached_input_tokens or 0
    if not all(0 <= (count or 0) <= _MOST_TOKENS for count in (heard, usage.output_tokens)):
        return None
    if heard is not None and not 0 <= cached <= heard:
        cached = 0  # No part of what was read can be more than all of it.
    fresh = heard - cached if heard is not None else None
    reread = price.cached_input_usd_per_million_tokens
    parts = (
        (price.input_usd_per_million_tokens, fresh),
        (reread if reread is not None else price.input_usd_per_million_tokens, cached),
        (price.output_usd_per_million_tokens, usage.output_tokens),
    )
    total = Decimal(0)
    for per_million, tokens in parts:
        if tokens == 0:
            continue
        if per_million is None or tokens is None:
            return None
        total += per_million * tokens / _MILLION
    return total


def version() -> str:
    """The date of the table."""
    return _table().version


@cache
def _table() -> _Table:
    text = files("gateway.config").joinpath("prices.toml").read_text(encoding="utf-8")
    return _Table.model_validate(tomllib.loads(text))


@cache
def _prices() -> Mapping[tuple[str, str], ListPrice]:
    found: dict[tuple[str, str], ListPrice] = {}
    for vendor in _table().vendor:
        for model in vendor.models:
            source = f"list {version()}: {vendor.source}, as of {model.as_of}"
            price = Price(
                input_usd_per_million_tokens=model.input,
                output_usd_per_million_tokens=model.output,
                cached_input_usd_per_million_tokens=model.cached_input,
            )
            for name in model.names:
                if (vendor.provider, name) in found:
                    raise ValueError(f"{vendor.provider}: {name!r} stands twice in the price table")
                listed = ListPrice(price, source, model.max_output_tokens)
                found[vendor.provider, name] = listed
    return found
