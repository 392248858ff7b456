"""One file per wire protocol, and the one place that knows which file speaks which."""

from gateway.config import Endpoint, Wire, habits_of
from gateway.errors import EndpointUnavailable
from gateway.http import Transport
from gateway.providers.by_chat import CompletionsByChat, completes_by_chat
from gateway.providers.chaos import ChaosTransport
from gateway.providers.discreet import DiscreetProvider
from gateway.providers.echo import EchoProvider
from gateway.providers.jurassic import JurassicProvider, is_jurassic
from gateway.providers.mlflow_serving import MlflowServingProvider
from gateway.providers.mosaicml import MosaicProvider
from gateway.providers.openai import OpenAIProvider
from gateway.providers.palm import PalmProvider
from gateway.providers.provider import Provider
from gateway.providers.translated import translated
from gateway.providers.watsonx import WatsonxProvider
from gateway.types import EndpointType

__all__ = ["Provider", "bind", "has_messages", "has_responses"]


def bind(endpoint: Endpoint, transport: Transport) -> Provider:
    """A provider that speaks to `endpoint` over `transport`.

    Raises:
        EndpointUnavailable: The endpoint cannot be used as configured.
    """
    if endpoint.unavailable is not None:
        raise EndpointUnavailable(f"the endpoint `{endpoint.name}`: {endpoint.unavailable}")
    provider = _bound(endpoint, transport)
    return DiscreetProvider(provider, endpoint.secrets.values()) if endpoint.secrets else provider


def _bound(  # noqa: C901, PLR0911 - a table
    endpoint: Endpoint, transport: Transport
) -> Provider:
    match endpoint.wire:
        case Wire.ECHO:
            return EchoProvider(endpoint)
        case Wire.CHAOS:
            return OpenAIProvider(endpoint, ChaosTransport(endpoint), base_url="http://chaos")
        case Wire.OPENAI:
            return _openai(endpoint, transport, _address(endpoint))
        case Wire.ANTHROPIC | Wire.COHERE | Wire.GEMINI | Wire.VERTEX | Wire.BEDROCK:
            return translated(endpoint, transport)
        case Wire.WATSONX:
            return WatsonxProvider(endpoint, transport, base_url=_address(endpoint))
        case Wire.PALM:
            return PalmProvider(endpoint, transport, base_url=_address(endpoint))
        case Wire.MOSAICML:
            return MosaicProvider(endpoint, transport, base_url=_address(endpoint))
        case Wire.MLFLOW_SERVING:
            return MlflowServingProvider(endpoint, transport, base_url=_address(endpoint))
        case Wire.TGI:
            # Not above: huggingface_hub is slow to import, and most gateways do without.
            from gateway.providers.tgi import TgiProvider  # noqa: PLC0415

            return TgiProvider(endpoint, transport, base_url=_address(endpoint))
        case Wire.ABSENT:
            raise EndpointUnavailable(f"the endpoint `{endpoint.name}` has no address")


def _address(endpoint: Endpoint) -> str:
    if endpoint.base_url is None:
        raise EndpointUnavailable(f"the endpoint `{endpoint.name}` has no address")
    return endpoint.base_url


def _openai(endpoint: Endpoint, transport: Transport, base_url: str) -> Provider:
    if endpoint.provider == "ai21labs" and is_jurassic(endpoint.model):
        return JurassicProvider(endpoint, transport, base_url=base_url)
    habits = habits_of(endpoint)
    if endpoint.endpoint_type in habits.lacks:
        reason = f"`{endpoint.provider}` has nothing for {endpoint.endpoint_type}"
        raise EndpointUnavailable(f"the endpoint `{endpoint.name}`: {reason}")
    provider = OpenAIProvider(endpoint, transport, base_url=base_url)
    if endpoint.endpoint_type is not EndpointType.COMPLETIONS:
        return provider
    old = endpoint.declared_as == "routes" and endpoint.provider == "openai"
    if habits.completes_by_chat or (old and completes_by_chat(endpoint.model)):
        return CompletionsByChat(provider)
    return provider


def has_responses(endpoint: Endpoint) -> bool:
    """Whether the endpoint's vendor has OpenAI's Responses API itself."""
    return endpoint.wire is Wire.OPENAI and habits_of(endpoint).responses


def has_messages(endpoint: Endpoint) -> bool:
    """Whether the endpoint's vendor has Anthropic's Messages API itself."""
    model = endpoint.model or ""
    match endpoint.wire:
        case Wire.ANTHROPIC:
            return True
        case Wire.VERTEX:
            return model.startswith("claude")
        case Wire.BEDROCK:
            return "anthropic.claude" in model  # Of an application's own profile nothing is known.
        case _:
            return False
