"""IBM watsonx.ai, after its REST reference: text chat and embeddings."""

from gateway.types import Usage
from tests.support.vendors import openai
from tests.support.vendors.canon import ASKS, EMBED_LIST, TEXT, TOOLS
from tests.support.vendors.contract import Answered, Kind, Said, Sent, Vendor

KEY = "ibm-secret-0123456789"
ROOT = "https://us-south.ml.cloud.ibm.com/ml/v1/text"
WHOSE = {"model_id": "ibm/granite", "project_id": "p-1"}
CHATS = {name: Sent(body={**ask, **WHOSE}) for name, ask in ASKS[Kind.CHAT].items()}
CALLING = {key: value for key, value in TOOLS.items() if key != "tool_choice"}


def error(_status: int, message: str, case: str) -> object:
    return {"errors": [{"code": case, "message": message}], "trace": "t", "status_code": 400}


VENDORS = (
    Vendor(
        name="watsonx",
        provider="watsonx",
        model="ibm/granite",
        config={"watsonx_token": KEY, "project_id": "p-1"},
        urls={
            Kind.CHAT: f"{ROOT}/chat?version=2024-10-08",
            Kind.EMBEDDINGS: f"{ROOT}/embeddings?version=2024-10-08",
        },
        stream_urls={Kind.CHAT: f"{ROOT}/chat_stream?version=2024-10-08"},
        headers={"authorization": f"Bearer {KEY}"},
        secrets=(KEY,),
        asks={
            Kind.CHAT: CHATS
            | {"tools": Sent(body={**CALLING, "tool_choice_option": "auto", **WHOSE})},
            Kind.EMBEDDINGS: {
                "one": Sent(body={"inputs": [TEXT], **WHOSE}),
                "list": Sent(body={"inputs": EMBED_LIST["input"], **WHOSE}),
            },
        },
        answers=[
            *openai.CHAT_ANSWERS,
            Answered(
                name="plain",
                kind=Kind.EMBEDDINGS,
                body={
                    "model_id": "ibm/granite",
                    "results": [{"embedding": [0.25, -1]}, {"embedding": [0.5, 2]}],
                    "input_token_count": 4,
                },
                said=Said(vectors=[[0.25, -1], [0.5, 2]], usage=Usage(input_tokens=4)),
            ),
        ],
        streams=openai.CHAT_STREAMS,
        broken_streams=openai.BROKEN,
        error=error,
        refused={Kind.CHAT: {"parallel_tool_calls": False}},
        honoured={
            Kind.CHAT: {
                "tool_choice": (
                    {"type": "function", "function": {"name": "weather"}},
                    {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
                )
            }
        },
    ),
)
