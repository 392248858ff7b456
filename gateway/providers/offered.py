"""The batch interface of an endpoint."""

from gateway.config import Endpoint, Wire
from gateway.errors import EndpointUnavailable
from gateway.http import Transport
from gateway.providers.anthropic_batches import AnthropicBatches
from gateway.providers.batching import VendorBatches
from gateway.providers.discreet import DiscreetBatches
from gateway.providers.openai_batches import OpenAIBatches


def batches_of(endpoint: Endpoint, transport: Transport) -> VendorBatches:
    """Give the batch interface of an endpoint.

    Raises:
        EndpointUnavailable: It has none.
    """
    if endpoint.batch_price_factor is None or endpoint.base_url is None:
        raise EndpointUnavailable(f"the endpoint `{endpoint.name}` has no batch API switched on")
    kind = AnthropicBatches if endpoint.wire is Wire.ANTHROPIC else OpenAIBatches
    batches = kind(endpoint, transport, base_url=endpoint.base_url)
    return DiscreetBatches(batches, endpoint.secrets.values()) if endpoint.secrets else batches
