"""Takes from a gateway's endpoint what a job keeps of it; neither knows the other."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

from hikaku.specs import EndpointIdentity


class Priced(Protocol):
    """What tokens cost, as a gateway says it."""

    @property
    def input_usd_per_million_tokens(self) -> Decimal | None: ...  # noqa: D102
    @property
    def output_usd_per_million_tokens(self) -> Decimal | None: ...  # noqa: D102
    @property
    def cached_input_usd_per_million_tokens(self) -> Decimal | None: ...  # noqa: D102


class Described(Protocol):
    """An endpoint, as a gateway describes it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def endpoint_type(self) -> str: ...  # noqa: D102
    @property
    def provider(self) -> str: ...  # noqa: D102
    @property
    def model(self) -> str | None: ...  # noqa: D102
    @property
    def fingerprint(self) -> str: ...  # noqa: D102
    @property
    def settings(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def price(self) -> Priced | None: ...  # noqa: D102
    @property
    def price_source(self) -> str | None: ...  # noqa: D102
    @property
    def max_output_tokens(self) -> int | None: ...  # noqa: D102
    @property
    def batch_price_factor(self) -> Decimal | None: ...  # noqa: D102


def identity(endpoint: Described) -> EndpointIdentity:
    """Take from a gateway's endpoint what a job keeps of it."""
    price = endpoint.price
    return EndpointIdentity.model_validate(
        {
            "name": endpoint.name,
            "endpoint_type": str(endpoint.endpoint_type),
            "provider": endpoint.provider,
            "model": endpoint.model,
            "fingerprint": endpoint.fingerprint,
            "settings": dict(endpoint.settings),
            "input_usd_per_million_tokens": price and price.input_usd_per_million_tokens,
            "output_usd_per_million_tokens": price and price.output_usd_per_million_tokens,
            "cached_input_usd_per_million_tokens": price
            and price.cached_input_usd_per_million_tokens,
            "price_source": endpoint.price_source,
            "max_output_tokens": endpoint.max_output_tokens,
            "batch_price_factor": endpoint.batch_price_factor,
        }
    )
