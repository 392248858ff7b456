"""A model in memory: llama.cpp's own server in this process, asked over loopback."""

import asyncio
import json
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import httpx2
import psutil
import xllamacpp

from stack.models.errors import GenerationError, ValidationError
from stack.models.generation import Ended, Finish, Prompt, Sampling, Token

_PATIENCE = httpx2.Timeout(None, connect=10)
"""A long prompt on a slow machine may take minutes before its first token."""


def threads() -> int:
    """How many threads to compute with: more than the physical cores makes llama.cpp slower."""
    physical = psutil.cpu_count(logical=False) or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, allowed))


class LlamaModel:
    """One loaded model; its calls may be cancelled, which stops the computing."""

    def __init__(self, server: Any, http: httpx2.AsyncClient) -> None:  # noqa: ANN401 - untyped library
        self._server = server
        self._http = http
        self._eos: Token | None = None

    @classmethod
    async def load(cls, path: Path, *, context_tokens: int, slots: int) -> Self:
        """Load a GGUF file; the event loop runs on meanwhile.

        Raises:
            GenerationError: The runtime refused the file; it has said why on standard error.
        """
        key = secrets.token_hex(16)
        parameters = _parameters(path, key, context_tokens=context_tokens, slots=slots)
        try:
            server = await asyncio.to_thread(xllamacpp.Server, parameters)
        except RuntimeError as error:
            raise GenerationError(f"{path.name} could not be loaded: {error}") from error
        http = httpx2.AsyncClient(
            base_url=server.listening_address,
            headers={"authorization": f"Bearer {key}"},
            timeout=_PATIENCE,
            trust_env=False,
            # The runtime closes a connection after a stream without saying so beforehand.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        )
        return cls(server, http)

    async def close(self) -> None:
        """Free the memory."""
        await self._http.aclose()
        del self._server

    async def tokenize(self, text: str) -> list[tuple[int, bytes]]:
        """Cut text into tokens, each with its bytes."""
        body = {"content": text, "add_special": True, "parse_special": True, "with_pieces": True}
        answer = await self._post("/tokenize", body)
        return [(token["id"], _bytes(token["piece"])) for token in answer["tokens"]]

    async def prompt(self, text: str) -> Prompt:
        """Make a prompt of text."""
        tokens = await self.tokenize(text)
        return Prompt(text=text, tokens=tuple(number for number, _ in tokens))

    async def chat_prompt(self, messages: Sequence[Mapping[str, object]]) -> Prompt:
        """Make a prompt of a conversation, by the model's own template.

        Raises:
            ValidationError: The template refuses the conversation.
        """
        answer = await self._post("/apply-template", {"messages": list(messages)})
        return await self.prompt(answer["prompt"])

    async def generate(
        self, prompt: Prompt, sampling: Sampling, *, max_tokens: int
    ) -> AsyncGenerator[Token | Ended]:
        """Give tokens as they come, then how it ended.

        Raises:
            GenerationError: The runtime failed in the middle.
        """
        body = _completion_body(prompt, sampling, max_tokens=max_tokens)
        text = ""
        try:
            async with self._http.stream("POST", "/completion", json=body) as answer:
                if answer.is_error:
                    raise _refusal(await answer.aread())
                async for chunk in _events(answer):
                    for token in _tokens(chunk, top_n=sampling.top_n):
                        text += token.text
                        yield token
                    count = int(chunk.get("tokens_predicted", 0))
                    if _stopped(text, sampling.stop):
                        yield Ended(finish=Finish.STOP_SEQUENCE, generated_tokens=count)
                        return
                    if chunk.get("stop"):
                        async for last in self._last(chunk, count):
                            yield last
                        return
        except httpx2.HTTPError as error:
            raise GenerationError(repr(error)) from error
        raise GenerationError("the runtime ended the stream without saying how")

    async def _last(self, chunk: Mapping[str, Any], count: int) -> AsyncGenerator[Token | Ended]:
        if chunk.get("stop_type") == "eos":
            yield await self._end_of_text()
            yield Ended(finish=Finish.EOS_TOKEN, generated_tokens=count)
        else:
            yield Ended(finish=Finish.LENGTH, generated_tokens=count)

    async def _end_of_text(self) -> Token:
        if self._eos is None:
            answer = await self._http.get("/props")
            text = answer.json().get("eos_token") or ""
            tokens = await self.tokenize(text)
            number = tokens[-1][0] if tokens else 0
            self._eos = Token(id=number, text=text, logprob=None, special=True)
        return self._eos

    async def _post(self, path: str, body: Mapping[str, object]) -> Any:  # noqa: ANN401 - JSON
        try:
            answer = await self._http.post(path, json=dict(body))
        except httpx2.HTTPError as error:
            raise GenerationError(repr(error)) from error
        if answer.is_error:
            raise _refusal(answer.content)
        return answer.json()


def _parameters(path: Path, key: str, *, context_tokens: int, slots: int) -> Any:  # noqa: ANN401
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = context_tokens * slots
    parameters.n_parallel = slots
    parameters.kv_unified = False
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [key]
    parameters.ui = False
    parameters.cache_ram_mib = 64
    parameters.verbosity = 0
    for computing in (parameters.cpuparams, parameters.cpuparams_batch):
        computing.n_threads = threads()
        # Spinning threads starve everything else on a small machine, and then each other.
        computing.poll = 0
    return parameters


def _completion_body(prompt: Prompt, sampling: Sampling, *, max_tokens: int) -> dict[str, object]:
    """Every filter is named: the runtime's own defaults are not TGI's."""
    body: dict[str, object] = {
        "prompt": list(prompt.tokens),
        "n_predict": max_tokens,
        "stream": True,
        "n_probs": max(1, sampling.top_n),
        "return_tokens": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k or 0,
        "top_p": sampling.top_p or 1.0,
        "min_p": 0.0,
        "typical_p": sampling.typical_p or 1.0,
        "repeat_penalty": sampling.repetition_penalty or 1.0,
        "repeat_last_n": len(prompt.tokens) + max_tokens,
        "frequency_penalty": sampling.frequency_penalty or 0.0,
        "cache_prompt": True,
    }
    if sampling.seed is not None:
        body["seed"] = sampling.seed % 2**32
    if sampling.json_schema is not None:
        body["json_schema"] = sampling.json_schema
    return body


async def _events(answer: httpx2.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in answer.aiter_lines():
        if line.startswith("error:"):
            raise GenerationError(line.removeprefix("error:").strip())
        if line.startswith("data: ") and line != "data: [DONE]":
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise GenerationError(str(event["error"].get("message")))
            yield event


def _tokens(chunk: Mapping[str, Any], *, top_n: int) -> list[Token]:
    """Tokens of one event; the text is the event's, which never cuts a character."""
    found = chunk.get("completion_probabilities") or []
    if not found:
        return [_plain(chunk)] if chunk.get("content") else []
    tokens = [_token(entry, top_n=top_n) for entry in found]
    if "".join(token.text for token in tokens) == chunk["content"]:
        return tokens
    last = tokens[-1]
    return [Token(id=last.id, text=chunk["content"], logprob=last.logprob, top=last.top)]


def _plain(chunk: Mapping[str, Any]) -> Token:
    numbers = chunk.get("tokens") or [0]
    return Token(id=numbers[-1], text=chunk["content"], logprob=None)


def _token(entry: Mapping[str, Any], *, top_n: int) -> Token:
    return Token(
        id=entry["id"],
        text=entry["token"],
        logprob=entry["logprob"],
        top=tuple(_token(other, top_n=0) for other in entry.get("top_logprobs", ())[:top_n]),
    )


def _stopped(text: str, stop: Sequence[str]) -> bool:
    return any(sequence and sequence in text for sequence in stop)


def _bytes(piece: str | list[int]) -> bytes:
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def _refusal(content: bytes) -> GenerationError | ValidationError:
    try:
        error = json.loads(content)["error"]
        message, status = str(error["message"]), int(error["code"])
    except (ValueError, KeyError, TypeError):
        return GenerationError(content.decode(errors="replace")[:500])
    return ValidationError(message) if 400 <= status < 500 else GenerationError(message)  # noqa: PLR2004
