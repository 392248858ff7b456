"""Vendors that chat in a dialect of their own: which file speaks which."""

from gateway.config import Endpoint, Wire
from gateway.errors import EndpointUnavailable
from gateway.http import Transport
from gateway.providers.anthropic import AnthropicProvider, OwnDoor
from gateway.providers.bedrock import BedrockProvider
from gateway.providers.bedrock_texts import texter_of
from gateway.providers.by_chat import CompletionsByChat
from gateway.providers.cohere import CohereProvider
from gateway.providers.gemini import GeminiProvider, KeyDoor
from gateway.providers.provider import Provider
from gateway.providers.vertex import vertex
from gateway.types import EndpointType


def translated(endpoint: Endpoint, transport: Transport) -> Provider:
    """The provider of an endpoint whose wire is none of OpenAI's.

    Raises:
        EndpointUnavailable: The endpoint cannot be used as configured.
    """
    if endpoint.wire is Wire.BEDROCK:
        return _bedrock(endpoint, transport)
    provider = _chatting(endpoint, transport)
    if endpoint.endpoint_type is EndpointType.COMPLETIONS:
        # These vendors complete no text any more, or never did: MLflow's own gateway chats too.
        return CompletionsByChat(provider)
    return provider


def _bedrock(endpoint: Endpoint, transport: Transport) -> Provider:
    provider = BedrockProvider(endpoint, transport)
    completes = endpoint.endpoint_type is EndpointType.COMPLETIONS
    if completes and texter_of(endpoint.model or "") is None:
        return CompletionsByChat(provider)
    return provider


def _chatting(endpoint: Endpoint, transport: Transport) -> Provider:
    base_url = endpoint.base_url or ""
    match endpoint.wire:
        case Wire.ANTHROPIC:
            return AnthropicProvider(endpoint, transport, OwnDoor(endpoint, base_url=base_url))
        case Wire.COHERE:
            return CohereProvider(endpoint, transport, base_url=base_url)
        case Wire.GEMINI:
            return GeminiProvider(endpoint, transport, KeyDoor(endpoint, base_url=base_url))
        case Wire.VERTEX:
            return vertex(endpoint, transport)
        case _:
            raise EndpointUnavailable(f"nobody speaks the protocol `{endpoint.wire}`")
