"""A model behind `mlflow models serve`, whose errors and shapes were taken from MLflow's server."""

from typing import Any

from gateway.errors import InvalidRequest
from gateway.types import Usage
from tests.support.vendors.canon import (
    ANSWER,
    ASKS,
    EMBED_LIST,
    PROMPT_WITH,
    TEXT,
    TURNS,
)
from tests.support.vendors.contract import (
    Answered,
    Call,
    Failure,
    Kind,
    Refused,
    Said,
    Sent,
    Vendor,
)

PARAMETERS = {key: value for key, value in TURNS.items() if key != "messages"}
NO_USAGE = Said(text=ANSWER, finish_reason=None)
CHAT_COMPLETION = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER},
                 "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    "model": "served", "object": "chat.completion", "created": 1,
}  # fmt: skip
CALLED = {
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function",
                     "function": {"name": "weather", "arguments": '{"city":"東京"}'}}
                ],
            },
            "finish_reason": "tool_calls",
        }
    ],
}  # fmt: skip


def answer(name: str, body: object, said: Said = NO_USAGE, kind: Kind = Kind.CHAT) -> Answered:
    return Answered(name=name, body=body, said=said, kind=kind)


def vectors(name: str, body: object) -> Answered:
    said = Said(finish_reason=None, vectors=[[0.25, -1.0], [0.5, 2.0]])
    return answer(name, body, said, Kind.EMBEDDINGS)


def error(_status: int, message: str, _case: str) -> object:
    return {"error_code": "BAD_REQUEST", "message": message, "sqlstate": "KAM00"}


URL = "http://served/invocations"
COMPLETED = Said(text=ANSWER, usage=Usage(input_tokens=3, output_tokens=5), model="served")
ONE = Said(finish_reason=None, vectors=[[0.25, -1.0]])
TEXTS = (
    answer("plain", {"predictions": [ANSWER]}),
    answer("plain", {"predictions": [ANSWER]}, NO_USAGE, Kind.COMPLETIONS),
    answer("a bare text", {"predictions": ANSWER}),
    answer("an object of one key", {"predictions": {"answer": [ANSWER]}}),
    answer("rows of a data frame", {"predictions": [{"0": ANSWER}]}),
    answer("candidates", {"predictions": {"candidates": [{"text": ANSWER}]}}),
    answer("generated text", {"predictions": [{"generated_text": ANSWER, "score": 1}]}),
    answer("a chat completion", {"predictions": CHAT_COMPLETION}, COMPLETED),
    answer("a chat completion without a wrapper", CHAT_COMPLETION, COMPLETED),
    answer(
        "a tool call",
        CALLED,
        Said(
            finish_reason="tool_calls",
            calls=(Call(id="c1", name="weather", arguments={"city": "東京"}),),
        ),
    ),
    answer(
        "an agent's response",
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": ANSWER}]}]},
    ),
)
VECTORS = (
    vectors("plain", {"predictions": [[0.25, -1], [0.5, 2]]}),
    vectors("an object of one key", {"predictions": {"vectors": [[0.25, -1], [0.5, 2]]}}),
    vectors("rows of a data frame", {"predictions": [{"0": 0.25, "1": -1}, {"0": 0.5, "1": 2}]}),
    vectors("objects", {"predictions": [{"embedding": [0.25, -1]}, {"embedding": [0.5, 2]}]}),
    vectors("OpenAI's", {"data": [{"embedding": [0.25, -1]}, {"embedding": [0.5, 2]}]}),
    Answered(
        name="one flat vector",
        kind=Kind.EMBEDDINGS,
        body={"predictions": [0.25, -1]},
        ask={"input": TEXT},
        said=ONE,
    ),
)
EMBEDDED: dict[str, Sent | Refused] = {
    "one": Sent(body={"inputs": [TEXT]}),
    "list": Sent(body={"inputs": EMBED_LIST["input"]}),
}


def as_it_is(name: str) -> Sent:
    return Sent(body=ASKS[Kind.CHAT][name])


def served(name: str, form: str | None, chat: dict[str, Sent | Refused]) -> Vendor:
    config: dict[str, Any] = {"model_server_url": "http://served"}
    kinds = (Kind.CHAT, Kind.COMPLETIONS, Kind.EMBEDDINGS)
    limits = {key: value for key, value in PROMPT_WITH.items() if key != "prompt"}
    return Vendor(
        name=name,
        provider="mlflow-model-serving",
        config=config | ({"input_form": form} if form else {}),
        urls=dict.fromkeys(kinds, URL),
        headers={},
        secrets=(),
        asks={
            Kind.CHAT: chat,
            Kind.COMPLETIONS: {
                "plain": Sent(body={"inputs": [TEXT], "params": {"n": 1}}),
                "parameters": Sent(
                    body={"inputs": [PROMPT_WITH["prompt"]], "params": {"n": 1, **limits}}
                ),
            },
            Kind.EMBEDDINGS: EMBEDDED,
        },
        answers=(*TEXTS, *VECTORS),
        error=error,
        failures=(
            Failure(
                name="a schema",
                status=400,
                body=error(400, "Failed to enforce schema of data", ""),
                error=InvalidRequest,
            ),
        ),
        refused={kind: {"n": 2} for kind in (Kind.CHAT, Kind.COMPLETIONS)},
        malformed=(b'{"predictions": []}', b'{"predictions": [1]}', b'{"choices": [{}]}'),
        thorough=form is None,
    )


AS_STRING = Sent(body={"inputs": [TEXT], "params": {"n": 1}})
AS_LIST = Sent(body={"inputs": TURNS["messages"], "params": {"n": 1, **PARAMETERS}})

VENDORS = (
    served(
        "mlflow-model-serving",
        None,
        {
            "plain": AS_STRING,
            "turns": AS_LIST,
            **{name: as_it_is(name) for name in ("tools", "json_mode", "structured", "image")},
        },
    ),
    served(
        "mlflow-model-serving-strings",
        "strings",
        {
            "plain": AS_STRING,
            "turns": Refused(parameter="messages"),
            "tools": Refused(parameter="tools"),
            "json_mode": Refused(parameter="response_format"),
            "structured": Refused(parameter="response_format"),
            "image": Refused(parameter="messages"),
        },
    ),
    served("mlflow-model-serving-chat", "chat", {name: as_it_is(name) for name in ASKS[Kind.CHAT]}),
)
