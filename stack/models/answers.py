"""Bodies and headers of TGI's answers, made of tokens."""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from stack.models.generation import Ended, Finish, Prompt, Token
from stack.models.served import Clock

VERSION = "3.3.7"
"""The TGI release whose wire this server speaks."""
FINGERPRINT = f"{VERSION}-native"

Json = dict[str, object]

_OPENAI_FINISH = {
    Finish.LENGTH: "length",
    Finish.EOS_TOKEN: "stop",
    Finish.STOP_SEQUENCE: "stop_sequence",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """A whole generation."""

    prompt: Prompt
    tokens: Sequence[Token]
    ended: Ended
    seed: int | None

    @property
    def text(self) -> str:
        """What was generated, a stop sequence included and special tokens left out."""
        return "".join(token.text for token in self.tokens if not token.special)

    @property
    def usage(self) -> Json:
        """Token counts in OpenAI's words."""
        return usage(self.prompt, self.ended)


async def gather(
    pieces: AsyncIterator[Token | Ended], prompt: Prompt, seed: int | None
) -> Generated:
    """Wait for the whole generation."""
    tokens: list[Token] = []
    ended = Ended(finish=Finish.LENGTH, generated_tokens=0)
    async for piece in pieces:
        if isinstance(piece, Token):
            tokens.append(piece)
        else:
            ended = piece
    return Generated(prompt=prompt, tokens=tokens, ended=ended, seed=seed)


def usage(prompt: Prompt, ended: Ended) -> Json:
    """Token counts in OpenAI's words."""
    given, made = len(prompt.tokens), ended.generated_tokens
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}


def timing_headers(
    clock: Clock, prompt: Prompt, ended: Ended, *, characters: int
) -> dict[str, str]:
    """TGI's measurements: whole milliseconds, but for the seconds of `x-compute-time`."""
    total = clock.ended - clock.arrived
    inference = clock.ended - clock.began
    per_token = inference / max(1, ended.generated_tokens)
    seconds = {
        "x-total-time": total,
        "x-validation-time": clock.validated - clock.arrived,
        "x-queue-time": clock.began - clock.validated,
        "x-inference-time": inference,
        "x-time-per-token": per_token,
    }
    return {
        "x-compute-type": "cpu+llama.cpp",
        "x-compute-time": f"{total:.6f}",
        "x-compute-characters": str(characters),
        **{name: str(round(value * 1000)) for name, value in seconds.items()},
        "x-prompt-tokens": str(len(prompt.tokens)),
        "x-generated-tokens": str(ended.generated_tokens),
    }


def token_body(token: Token) -> Json:
    """A token as the native API writes it."""
    # The end-of-text token comes without a probability; clients demand a number.
    logprob = 0.0 if token.logprob is None else token.logprob
    return {"id": token.id, "text": token.text, "logprob": logprob, "special": token.special}


def native_body(
    generated: Generated, *, full_text: bool, details: bool, prefill: Sequence[Json], top: bool
) -> Json:
    """Answer of `/generate`."""
    lead = generated.prompt.text if full_text else ""
    body: Json = {"generated_text": lead + generated.text}
    if details:
        body["details"] = {
            "finish_reason": generated.ended.finish,
            "generated_tokens": generated.ended.generated_tokens,
            "seed": generated.seed,
            "prefill": list(prefill),
            "tokens": [token_body(token) for token in generated.tokens],
        } | ({"top_tokens": [_top(token) for token in generated.tokens]} if top else {})
    return body


def native_event(
    index: int, token: Token, *, text: str | None = None, details: Json | None = None, top: bool
) -> Json:
    """One event of `/generate_stream`; the last carries the text and the details."""
    body: Json = {"index": index, "token": token_body(token)}
    if top:
        body["top_tokens"] = _top(token)
    return body | {"generated_text": text, "details": details}


def chat_body(model_id: str, generated: Generated, *, logprobs: bool) -> Json:
    """Answer of `/v1/chat/completions`."""
    choice: Json = {
        "index": 0,
        "message": {"role": "assistant", "content": generated.text},
        "logprobs": chat_logprobs(generated.tokens) if logprobs else None,
        "finish_reason": _OPENAI_FINISH[generated.ended.finish],
    }
    return _frame("chat.completion", model_id) | {"choices": [choice], "usage": generated.usage}


def chat_chunk(model_id: str, token: Token, *, finish: Finish | None, logprobs: bool) -> Json:
    """One event of a chat stream."""
    choice: Json = {
        "index": 0,
        "delta": {"role": "assistant", "content": "" if token.special else token.text},
        "logprobs": chat_logprobs([token]) if logprobs else None,
        "finish_reason": None if finish is None else _OPENAI_FINISH[finish],
    }
    return _frame("chat.completion.chunk", model_id) | {"choices": [choice], "usage": None}


def usage_chunk(kind: str, model_id: str, counted: Json) -> Json:
    """The event that closes a stream asked to report its usage."""
    return _frame(kind, model_id) | {"choices": [], "usage": counted}


def completion_body(model_id: str, generated: Sequence[Generated]) -> Json:
    """Answer of `/v1/completions`."""
    choices = [
        {
            "index": index,
            "text": one.text,
            "logprobs": None,
            "finish_reason": _OPENAI_FINISH[one.ended.finish],
        }
        for index, one in enumerate(generated)
    ]
    counted = {
        name: sum(_count(one.usage[name]) for one in generated)
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    }
    return _frame("text_completion", model_id) | {"choices": choices, "usage": counted}


def completion_chunk(model_id: str, token: Token, *, finish: Finish | None) -> Json:
    """One event of a completions stream."""
    choice: Json = {
        "index": 0,
        "text": "" if token.special else token.text,
        "logprobs": None,
        "finish_reason": None if finish is None else _OPENAI_FINISH[finish],
    }
    return _frame("text_completion", model_id) | {"choices": [choice]}


def chat_logprobs(tokens: Sequence[Token]) -> Json:
    """Log probabilities as the messages API writes them."""
    return {
        "content": [
            {
                "token": token.text,
                "logprob": token.logprob,
                "top_logprobs": [
                    {"token": other.text, "logprob": other.logprob} for other in token.top
                ],
            }
            for token in tokens
            if not token.special
        ]
    }


def token_spans(pieces: Sequence[tuple[int, bytes]]) -> list[Json]:
    """Answer of `/tokenize`: each token with where its bytes are in the text."""
    spans: list[Json] = []
    at = 0
    for number, piece in pieces:
        text = piece.decode(errors="replace")
        spans.append({"id": number, "text": text, "start": at, "stop": at + len(piece)})
        at += len(piece)
    return spans


def _frame(kind: str, model_id: str) -> Json:
    return {
        "object": kind,
        "id": "",
        "created": int(time.time()),
        "model": model_id,
        "system_fingerprint": FINGERPRINT,
    }


def _top(token: Token) -> list[Json]:
    return [token_body(other) for other in token.top]


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
