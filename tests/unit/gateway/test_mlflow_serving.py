from typing import Any

import msgspec
import pytest

from gateway.errors import InvalidRequest, MalformedAnswer
from gateway.http import Reply, WireRequest
from gateway.providers import bind
from tests.support.gateway_wire import ScriptedTransport, chat_reply, endpoint, reply

ASKED: dict[str, Any] = {
    "messages": [{"role": "system", "content": "短く"}, {"role": "user", "content": "りんご"}],
    "max_tokens": 4,
}
ALONE: dict[str, Any] = {"messages": ASKED["messages"][1:]}
SCHEMA = "Failed to enforce schema of 'x' with type '{content: string, role: string (required)}'."


def only_messages(request: WireRequest) -> Reply:
    """A model whose signature has `messages`, as MLflow's server answers for one."""
    if "messages" in msgspec.json.decode(request.body):
        return chat_reply("赤")
    return reply(400, {"error_code": "BAD_REQUEST", "message": SCHEMA})


@pytest.mark.parametrize("asked", [ASKED, ALONE])
async def test_a_model_that_takes_messages_is_found_out_once_and_then_asked_its_own_way(asked):
    transport = ScriptedTransport(only_messages)
    served = endpoint("mlflow-model-serving", model_server_url="http://s")
    provider = bind(served, transport)
    assert (await provider.chat(asked)).text == "赤"
    assert (await provider.chat(ASKED)).usage.output_tokens == 5
    assert [("inputs" in body) for body in transport.bodies] == [True, False, False]
    assert transport.bodies[-1] == ASKED


async def test_a_form_that_was_chosen_is_kept_whatever_the_schema_says():
    transport = ScriptedTransport(only_messages)
    served = endpoint("mlflow-model-serving", model_server_url="http://s", input_form="strings")
    with pytest.raises(InvalidRequest, match="enforce schema"):
        await bind(served, transport).chat(ALONE)
    assert len(transport.requests) == 1


@pytest.mark.parametrize("found", [[[0.1]], [], [[0.1], []], [[0.1], ["x"]], [0.1, 0.2], "x"])
async def test_vectors_that_are_not_one_for_each_text_are_no_answer(found):
    transport = ScriptedTransport(lambda _: reply(body={"predictions": found}))
    served = endpoint("mlflow-model-serving", "llm/v1/embeddings", model_server_url="http://s")
    with pytest.raises(MalformedAnswer):
        await bind(served, transport).embed({"input": ["a", "b"]})
