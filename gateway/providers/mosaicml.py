"""MosaicML's inference API, which is shut down; for servers that still speak it."""

from collections.abc import Mapping, Sequence

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import InvalidRequest, MalformedAnswer
from gateway.http import Transport, WireRequest, call
from gateway.providers.echo import texts_to_embed
from gateway.providers.judged import Spoken, decoded, embedded, encoding_of
from gateway.providers.parrot import content_text, messages_of, prompt_of
from gateway.providers.provider import Abilities, Provider
from gateway.providers.wishes import Wishes
from gateway.types import JSON, Answer, JSONObject, Usage

_SAMPLING = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k"}


class _Texts(msgspec.Struct):
    outputs: list[str]


class _Vectors(msgspec.Struct):
    outputs: list[list[float]]


_TEXTS = msgspec.json.Decoder(_Texts)
_VECTORS = msgspec.json.Decoder(_Vectors)


class MosaicProvider(Abilities, Provider):
    """Text and embeddings; chats are written out in Llama 2's form. No streams, no counts."""

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._url = f"{base_url}/{endpoint.model}/v1/predict"

    @override
    async def chat(self, body: JSONObject) -> Answer:
        return (await self._spoken(llama2_prompt(messages_of(body)), body)).answer()

    @override
    async def complete(self, body: JSONObject) -> Answer:
        return (await self._spoken(prompt_of(body), body)).text_answer()

    @override
    async def embed(self, body: JSONObject) -> Answer:
        encoding = encoding_of(body)
        Wishes({k: x for k, x in body.items() if k != "encoding_format"}).end("MosaicML")
        texts: list[JSON] = [*texts_to_embed(body)]
        raw = await self._sent({"inputs": texts})
        found = decoded(_VECTORS, raw, "vectors of MosaicML").outputs
        return embedded(found, encoding=encoding, usage=Usage(), model=self._endpoint.model)

    async def _spoken(self, prompt: str, body: JSONObject) -> Spoken:
        wishes = Wishes(body)
        parameters = wishes.carry(_SAMPLING)
        if (limit := wishes.max_tokens()) is not None:
            parameters["max_new_tokens"] = limit
        wishes.end("MosaicML")
        raw = await self._sent({"inputs": [prompt], "parameters": parameters})
        outputs = decoded(_TEXTS, raw, "an answer of MosaicML").outputs
        if not outputs:
            raise MalformedAnswer("an answer without outputs")
        model = self._endpoint.model
        return Spoken(text=outputs[0], finish_reason=None, usage=Usage(), model=model)

    async def _sent(self, payload: Mapping[str, JSON]) -> bytes:
        request = WireRequest(
            url=self._url,
            body=msgspec.json.encode(payload),
            headers={
                "Content-Type": "application/json",
                "Authorization": self._endpoint.secret or "",  # Without `Bearer`.
            },
            timeouts=self._endpoint.timeouts,
        )
        return (await call(self._transport, request)).body


def llama2_prompt(messages: Sequence[JSONObject]) -> str:
    """A conversation as Llama 2's chat models were trained to read it.

    Instructions stand between `[INST]` and `[/INST]`, several in a row together; each answer
    ends its turn.

    Raises:
        InvalidRequest: A role that the form has no place for.
    """
    turns: list[str] = []
    instructions: list[str] = []
    for message in messages:
        role, text = message.get("role"), content_text(message)
        if role == "system":
            instructions.append(f"<<SYS>> {text} <</SYS>>")
        elif role == "user":
            instructions.append(text)
        elif role == "assistant":
            turns.append(f"{_instruction(instructions)} {text} ")
            instructions = []
        else:
            raise InvalidRequest(f"there is no place for a message of role `{role}`")
    if instructions:
        turns.append(_instruction(instructions))
    return "<s>" + "</s><s>".join(turns)


def _instruction(instructions: Sequence[str]) -> str:
    return f"[INST] {' '.join(instructions)} [/INST]" if instructions else ""
