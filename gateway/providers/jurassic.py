"""AI21's Jurassic-2 completions, which are withdrawn; for servers that still speak them."""

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import MalformedAnswer
from gateway.http import Transport, WireRequest, call
from gateway.providers import dialect
from gateway.providers.judged import Spoken, decoded
from gateway.providers.parrot import prompt_of
from gateway.providers.provider import Abilities, Provider
from gateway.providers.wishes import Wishes
from gateway.types import JSON, Answer, JSONObject, Usage


class _Text(msgspec.Struct):
    text: str


class _Reason(msgspec.Struct):
    reason: str | None = None


class _Completion(msgspec.Struct):
    data: _Text
    finishReason: _Reason = msgspec.field(default_factory=_Reason)  # noqa: N815 - its name


class _Answer(msgspec.Struct):
    completions: list[_Completion]


_ANSWER = msgspec.json.Decoder(_Answer)


def is_jurassic(model: str | None) -> bool:
    """Whether a model of AI21's is of this generation."""
    return model is not None and model.startswith("j2-")


class JurassicProvider(Abilities, Provider):
    """Completions only."""

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._url = f"{base_url}/{endpoint.model}/complete"

    @override
    async def complete(self, body: JSONObject) -> Answer:
        answer = decoded(_ANSWER, await self._sent(_payload(body)), "an answer of AI21")
        if not answer.completions:
            raise MalformedAnswer("an answer without completions")
        first = answer.completions[0]
        return Spoken(
            text=first.data.text,
            finish_reason=_word(first.finishReason.reason),
            usage=Usage(),
            model=self._endpoint.model,
        ).text_answer()

    async def _sent(self, payload: dict[str, JSON]) -> bytes:
        request = WireRequest(
            url=self._url,
            body=msgspec.json.encode(payload),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self._endpoint.secret}",
            },
            timeouts=self._endpoint.timeouts,
        )
        return (await call(self._transport, request)).body


def _payload(body: JSONObject) -> dict[str, JSON]:
    wishes = Wishes(body)
    payload: dict[str, JSON] = {"prompt": prompt_of(body)}
    payload |= wishes.carry({"temperature": "temperature", "top_p": "topP"})
    if (limit := wishes.max_tokens()) is not None:
        payload["maxTokens"] = limit
    if (stops := wishes.stops()) is not None:
        payload["stopSequences"] = stops
    wishes.end("AI21's Jurassic-2")
    return payload


def _word(reason: str | None) -> str | None:
    return "stop" if reason in {"endoftext", "stop"} else dialect.finish_word(reason)
