"""A provider's abilities as plain functions: made once, where a lambda would be made per call."""

from collections.abc import AsyncGenerator, Awaitable

from gateway.providers import Provider
from gateway.types import Answer, JSONObject


def chat(provider: Provider, body: JSONObject) -> Awaitable[Answer]:
    """Ask for a chat completion."""
    return provider.chat(body)


def complete(provider: Provider, body: JSONObject) -> Awaitable[Answer]:
    """Ask for a text completion."""
    return provider.complete(body)


def embed(provider: Provider, body: JSONObject) -> Awaitable[Answer]:
    """Ask for embeddings."""
    return provider.embed(body)


def respond(provider: Provider, body: JSONObject) -> Awaitable[Answer]:
    """Ask for a response of the Responses API."""
    return provider.respond(body)


def message(provider: Provider, body: JSONObject) -> Awaitable[Answer]:
    """Ask for a message of Anthropic's Messages API."""
    return provider.message(body)


def count_tokens(provider: Provider, body: JSONObject) -> Awaitable[Answer]:
    """Ask how many tokens a message would have the model read."""
    return provider.count_tokens(body)


def stream_chat(provider: Provider, body: JSONObject) -> AsyncGenerator[bytes, None]:
    """Ask for a chat completion in chunks."""
    return provider.stream_chat(body)


def stream_complete(provider: Provider, body: JSONObject) -> AsyncGenerator[bytes, None]:
    """Ask for a text completion in chunks."""
    return provider.stream_complete(body)


def stream_respond(provider: Provider, body: JSONObject) -> AsyncGenerator[bytes, None]:
    """Ask for a response of the Responses API in events."""
    return provider.stream_respond(body)


def stream_message(provider: Provider, body: JSONObject) -> AsyncGenerator[bytes, None]:
    """Ask for a message of Anthropic's Messages API in events."""
    return provider.stream_message(body)
