"""What a provider can do: one wire protocol, bound to one endpoint."""

from collections.abc import AsyncGenerator
from typing import Protocol

from gateway.errors import WrongEndpointType
from gateway.types import Answer, JSONObject


class Provider(Protocol):
    """Speaks to one endpoint, once per call: no retry, no limit, no cache.

    Requests and answers are in OpenAI's dialect; `model` and `stream` of a body are the
    provider's own business. A parameter is honoured exactly or refused by name.
    """

    async def chat(self, body: JSONObject) -> Answer:
        """One chat completion."""
        ...

    def stream_chat(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        """Chunks of one chat completion, each the JSON of one event, without `[DONE]`."""
        ...

    async def complete(self, body: JSONObject) -> Answer:
        """One text completion."""
        ...

    def stream_complete(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        """Chunks of one text completion."""
        ...

    async def embed(self, body: JSONObject) -> Answer:
        """Embeddings of one or more texts."""
        ...

    async def respond(self, body: JSONObject) -> Answer:
        """One response of OpenAI's Responses API; `raw` is the response object."""
        ...

    def stream_respond(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        """Events of one response, each the JSON of one event with its `type`."""
        ...

    async def message(self, body: JSONObject) -> Answer:
        """One message of Anthropic's Messages API; `raw` is the message."""
        ...

    def stream_message(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        """Events of one message, each the JSON of one event with its `type`."""
        ...

    async def count_tokens(self, body: JSONObject) -> Answer:
        """What a message would be charged for as input; `raw` is Anthropic's count."""
        ...


class Abilities:
    """Refuses everything; a provider overrides what its protocol has."""

    async def chat(self, body: JSONObject) -> Answer:
        """Refuse."""
        raise _cannot("chat", body)

    def stream_chat(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        """Refuse."""
        raise _cannot("stream chat", body)

    async def complete(self, body: JSONObject) -> Answer:
        """Refuse."""
        raise _cannot("complete text", body)

    def stream_complete(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        """Refuse."""
        raise _cannot("stream text completions", body)

    async def embed(self, body: JSONObject) -> Answer:
        """Refuse."""
        raise _cannot("embed", body)

    async def respond(self, body: JSONObject) -> Answer:
        """Refuse."""
        raise _cannot("speak the Responses API", body)

    def stream_respond(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        """Refuse."""
        raise _cannot("speak the Responses API", body)

    async def message(self, body: JSONObject) -> Answer:
        """Refuse."""
        raise _cannot("speak Anthropic's Messages API", body)

    def stream_message(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        """Refuse."""
        raise _cannot("speak Anthropic's Messages API", body)

    async def count_tokens(self, body: JSONObject) -> Answer:
        """Refuse."""
        raise _cannot("count tokens before they are sent", body)


def _cannot(what: str, _body: JSONObject) -> WrongEndpointType:
    return WrongEndpointType(f"this provider cannot {what}", status=None)
