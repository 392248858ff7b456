"""Hugging Face Text Generation Inference, through huggingface_hub's own client."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import httpx2
import msgspec
from huggingface_hub import AsyncInferenceClient, TextGenerationOutput
from huggingface_hub.errors import (
    GenerationError,
    IncompleteGenerationError,
    OverloadedError,
    TextGenerationError,
    ValidationError,
)
from msgspec.structs import replace
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import (
    InvalidRequest,
    MalformedAnswer,
    RateLimited,
    Unavailable,
)
from gateway.http import Transport
from gateway.http.failures import event_failure
from gateway.http.httpx2_transport import REPLY_HEADERS, OverTransport
from gateway.providers import dialect
from gateway.providers.parrot import messages_of, prompt_of, wants_usage
from gateway.providers.provider import Abilities, Provider
from gateway.providers.stops import StopTrimmer, without_stop
from gateway.providers.tgi_answers import ChunkTranslator, chat_body, counted, timings
from gateway.providers.tgi_requests import CHAT, GENERATE, arguments, greedy
from gateway.types import Answer, JSONObject, Usage


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
        asked = arguments(body, CHAT)
        with _failures():
            output = await self._client.chat_completion(
                cast("Any", messages_of(body)), model="tgi", **asked
            )
            raw = chat_body(output, asked.get("stop") or [])
        return replace(dialect.chat_answer(raw), timings=timings(REPLY_HEADERS.get({})))

    @override
    async def complete(self, body: JSONObject) -> Answer:
        asked = greedy(arguments(body, GENERATE))
        with _failures():
            output = await self._client.text_generation(
                prompt_of(body), details=True, stream=False, **asked
            )
            headers = REPLY_HEADERS.get({})
            raw = self._text_body(output, asked.get("stop") or [], headers)
        return replace(dialect.text_answer(raw), timings=timings(headers))

    def _text_body(
        self, output: TextGenerationOutput, stops: Sequence[str], headers: Mapping[str, str]
    ) -> bytes:
        if (details := output.details) is None:
            raise MalformedAnswer("TGI answered without details")
        text = output.generated_text
        if details.finish_reason == "stop_sequence":
            text = without_stop(text, stops)
        heard = counted(headers, "x-prompt-tokens")
        return dialect.text_body(
            text,
            finish_reason=dialect.finish_word(details.finish_reason),
            usage=Usage(input_tokens=heard, output_tokens=details.generated_tokens),
            model=self._model,
        )

    @override
    async def stream_chat(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        asked = arguments(body, CHAT)
        translator = ChunkTranslator(asked.get("stop") or [])
        # A client of its own: it holds on to every stream it opened until it is closed.
        async with self._inference(self._streams) as client:
            with _failures():
                chunks = await client.chat_completion(
                    cast("Any", messages_of(body)),
                    model="tgi",
                    stream=True,
                    stream_options=cast("Any", {"include_usage": wants_usage(body)}),
                    **asked,
                )
                async for chunk in chunks:
                    yield translator.chunk(chunk)
        if not translator.finished:
            raise MalformedAnswer("the stream ended before the answer did")

    @override
    async def stream_complete(self, body: JSONObject) -> AsyncGenerator[bytes, None]:
        asked = greedy(arguments(body, GENERATE))
        async with self._inference(self._streams) as client:
            with _failures():
                tokens = await client.text_generation(
                    prompt_of(body), details=True, stream=True, **asked
                )
                pieces = self._pieces(
                    cast("AsyncIterator[Any]", tokens),
                    StopTrimmer(asked.get("stop") or []),
                    counted=wants_usage(body),
                )
                async for event in pieces:
                    yield event

    async def _pieces(
        self, tokens: AsyncIterator[Any], trimmer: StopTrimmer, *, counted: bool
    ) -> AsyncGenerator[bytes, None]:
        writer = dialect.ChunkWriter(chat=False, model=self._model)
        finished = False
        async for token in tokens:
            if not token.token.special and (text := trimmer.feed(token.token.text)):
                yield writer.piece(text)
            if (details := token.details) is not None:
                finished = True
                if rest := trimmer.end(stopped=details.finish_reason == "stop_sequence"):
                    yield writer.piece(rest)
                yield writer.piece(None, finish_reason=dialect.finish_word(details.finish_reason))
                if counted:
                    heard, said = details.input_length, details.generated_tokens
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
    except TextGenerationError as error:  # What a chat stream's error event holds.
        raise event_failure(msgspec.json.encode({"error": error.args[0]})) from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise MalformedAnswer(f"not an answer of TGI: {error!r}") from error
