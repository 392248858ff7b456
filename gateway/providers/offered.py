"""Which endpoints can be asked through their vendor's batch interface."""

from gateway.config import Endpoint, Wire
from gateway.errors import EndpointUnavailable
from gateway.http import Transport
from gateway.providers.anthropic_batches import AnthropicBatches
from gateway.providers.batching import VendorBatches
from gateway.providers.openai_batches import OpenAIBatches
from gateway.types import EndpointType


def has_batches(endpoint: Endpoint) -> bool:
    """Whether jobs may run through the vendor's batch interface."""
    speaks = endpoint.wire in {Wire.OPENAI, Wire.ANTHROPIC}
    is_chat = endpoint.endpoint_type is EndpointType.CHAT
    return endpoint.batch_api.enabled and speaks and is_chat and endpoint.unavailable is None


def batches_of(endpoint: Endpoint, transport: Transport) -> VendorBatches:
    """Give the batch interface of an endpoint.

    Raises:
        EndpointUnavailable: It has none.
    """
    if not has_batches(endpoint) or endpoint.base_url is None:
        raise EndpointUnavailable(f"the endpoint `{endpoint.name}` has no batch API switched on")
    kind = AnthropicBatches if endpoint.wire is Wire.ANTHROPIC else OpenAIBatches
    return kind(endpoint, transport, base_url=endpoint.base_url)
