"""Hugging Face Text Generation Inference, through huggingface_hub's own client."""

import dataclasses
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpx2
import msgspec
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import (
    GenerationError,
    IncompleteGenerationError,
    OverloadedError,
    TextGenerationError,
    ValidationError,
)
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import (
    InvalidRequest,
    MalformedAnswer,
    RateLimited,
    Unavailable,
    UnsupportedParameter,
)
from gateway.http import Transport
from gateway.http.failures import event_failure
from gateway.http.httpx2_transport import REPLY_HEADERS, OverTransport
from gateway.providers import dialect
from gateway.providers.parrot import messages_of, prompt_of, wants_usage
from gateway.providers.provider import Abilities, Provider
from gateway.types import JSON, Answer, JSONObject, Usage

_CHAT = {
    "max_tokens": "max_tokens", "max_completion_tokens": "max_tokens", "seed": "seed",
    "stop": "stop", "temperature": "temperature", "top_p": "top_p",
    "frequency_penalty": "frequency_penalty", "logprobs": "logprobs",
    "top_logprobs": "top_logprobs", "tools": "tools", "tool_choice": "tool_choice",
}  # fmt: skip
"""OpenAI's names to those of `chat_completion`; what is not here, TGI bends or ignores."""
_GENERATE = {
    "max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens", "seed": "seed",
    "stop": "stop", "temperature": "temperature", "top_p": "top_p", "top_k": "top_k",
    "frequency_penalty": "frequency_penalty", "repetition_penalty": "repetition_penalty",
    "typical_p": "typical_p", "truncate": "truncate", "watermark": "watermark",
}  # fmt: skip
"""OpenAI's and TGI's names to those of `text_generation`."""
_ENVELOPE = frozenset({"messages", "prompt", "model", "stream", "stream_options", "user"})
_NEUTRAL: dict[str, JSON] = {
    "n": 1, "best_of": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0,
    "logit_bias": {}, "echo": False, "logprobs": False,
}  # fmt: skip
"""Values that ask for nothing: leaving the parameter out honours them exactly."""
_SAMPLING = ("temperature", "top_p", "top_k", "typical_p")


class TgiProvider(Abilities, Provider):
    """One TGI server: messages API for chat, native generation for completions."""

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._model = endpoint.model
        self._url = base_url.removesuffix("/v1")
        self._key = endpoint.secret
        # The client would cap connections at 100 and cost milliseconds per call on its own pool.
        over = {
            streamed: OverTransport(
                transport, endpoint.timeouts, streamed=streamed, bearer=endpoint.secret
            )
            for streamed in (False, True)
        }
        self._whole = httpx2.AsyncClient(transport=over[False], trust_env=False, timeout=None)
        self._streams = httpx2.AsyncClient(transport=over[True], trust_env=False, timeout=None)
        self._client = self._inference(self._whole)

    @override
    async def chat(self, body: JSONObject) -> Answer:
        arguments = _arguments(body, _CHAT)
        with _failures():
            output = await self._client.chat_completion(
                cast("Any", messages_of(body)), model="tgi", **arguments
            )
            raw = _chat_body(output, arguments.get("stop") or [])
        return dialect.chat_answer(raw)

    @override
    async def complete(self, body: JSONObject) -> Answer:
        arguments = _greedy(_arguments(body, _GENERATE))
        with _failures():
            output = await self._client.text_generation(
                prompt_of(body), details=True, stream=False, **arguments
            )
        if (details := output.details) is None:
            raise MalformedAnswer("TGI answered without details")
        text = output.generated_text
        if details.finish_reason == "stop_sequence":
            text = _without_stop(text, arguments.get("stop") or [])
        raw = dialect.text_body(
            text,
            finish_reason=dialect.finish_word(details.finish_reason),
            usage=Usage(input_tokens=_heard(), output_tokens=details.generated_tokens),
            model=self._model,
        )
        return dialect.text_answer(raw)

    @override
    async def stream_chat(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        arguments = _arguments(body, _CHAT)
        # A client of its own: it holds on to every stream it opened until it is closed.
        async with self._inference(self._streams) as client:
            with _failures():
                chunks = await client.chat_completion(
                    cast("Any", messages_of(body)),
                    model="tgi",
                    stream=True,
                    stream_options=cast("Any", {"include_usage": wants_usage(body)}),
                    **arguments,
                )
                async for chunk in chunks:
                    yield _chunk(chunk)

    @override
    async def stream_complete(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        arguments = _greedy(_arguments(body, _GENERATE))
        async with self._inference(self._streams) as client:
            with _failures():
                tokens = await client.text_generation(
                    prompt_of(body), details=True, stream=True, **arguments
                )
                async for event in self._pieces(
                    cast("AsyncIterator[Any]", tokens), counted=wants_usage(body)
                ):
                    yield event

    async def _pieces(
        self, tokens: AsyncIterator[Any], *, counted: bool
    ) -> AsyncGenerator[bytes, None]:
        writer = dialect.ChunkWriter(chat=False, model=self._model)
        finished = False
        async for token in tokens:
            if not token.token.special:
                yield writer.piece(token.token.text)
            if token.details is not None:
                finished = True
                reason = dialect.finish_word(token.details.finish_reason)
                yield writer.piece(None, finish_reason=reason)
                if counted:
                    heard, said = token.details.input_length, token.details.generated_tokens
                    yield writer.usage(Usage(input_tokens=heard, output_tokens=said))
        if not finished:
            raise MalformedAnswer("the stream ended before the answer did")

    def _inference(self, client: httpx2.AsyncClient) -> "_Client":
        # Some key must be given, or the user's own Hugging Face token is looked up and sent.
        return _Client(client, base_url=self._url, provider="hf-inference", api_key="unused")


class _Client(AsyncInferenceClient):
    """huggingface_hub's client over an HTTP client that is handed in and stays open."""

    def __init__(self, client: httpx2.AsyncClient, **options: Any) -> None:  # noqa: ANN401
        super().__init__(**options)
        self._handed_in = client

    @override
    async def _get_async_client(self) -> httpx2.AsyncClient:
        return self._handed_in


def _arguments(body: JSONObject, names: dict[str, str]) -> dict[str, Any]:
    """The request's parameters under the client's names.

    Raises:
        UnsupportedParameter: TGI would ignore or bend one.
    """
    arguments: dict[str, Any] = {}
    for name, value in body.items():
        if name in _ENVELOPE or value is None:
            continue
        if name in _NEUTRAL and value == _NEUTRAL[name]:
            continue
        if name not in names:
            raise UnsupportedParameter(name, "Text Generation Inference has no equivalent")
        arguments[names[name]] = [value] if name == "stop" and isinstance(value, str) else value
    return arguments


def _greedy(arguments: dict[str, Any]) -> dict[str, Any]:
    """Temperature 0 as TGI's native route wants it: no sampling at all."""
    if arguments.get("temperature") == 0:
        return {k: v for k, v in arguments.items() if k not in _SAMPLING} | {"do_sample": False}
    return arguments


def _chat_body(output: object, stops: list[str]) -> bytes:
    body = dataclasses.asdict(cast("Any", output))
    for choice in body["choices"]:
        message = choice["message"]
        if choice["finish_reason"] == "stop_sequence" and isinstance(message["content"], str):
            message["content"] = _without_stop(message["content"], stops)
        choice["finish_reason"] = dialect.finish_word(choice["finish_reason"])
    return msgspec.json.encode({"object": "chat.completion"} | body)


def _chunk(chunk: object) -> bytes:
    body = dataclasses.asdict(cast("Any", chunk))
    for choice in body["choices"]:
        choice["finish_reason"] = dialect.finish_word(choice["finish_reason"])
    return msgspec.json.encode({"object": "chat.completion.chunk"} | body)


def _heard() -> int | None:
    """Tokens of the prompt, which a native answer tells in a header only."""
    count = REPLY_HEADERS.get({}).get("x-prompt-tokens", "")
    return int(count) if count.isdecimal() else None


def _without_stop(text: str, stops: list[str]) -> str:
    """TGI leaves the stop sequence at the end of the text; OpenAI's dialect does not."""
    return next((text.removesuffix(stop) for stop in stops if text.endswith(stop)), text)


@contextmanager
def _failures() -> Iterator[None]:
    """Turn huggingface_hub's failures into ours; those of HTTP are ours already."""
    try:
        yield
    except OverloadedError as error:
        raise RateLimited(str(error), status=429) from error
    except ValidationError as error:
        raise InvalidRequest(str(error), status=422) from error
    except IncompleteGenerationError as error:
        raise MalformedAnswer(str(error)) from error
    except GenerationError as error:
        raise Unavailable(str(error), status=424) from error
    except TextGenerationError as error:  # A chat stream's error event arrives as text.
        raise event_failure(msgspec.json.encode({"error": str(error)})) from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MalformedAnswer(f"not an answer of TGI: {error!r}") from error
