from typing import Any

import pytest

from gateway.errors import InvalidRequest, UnsupportedParameter
from gateway.providers.conversation import Image, Text, ToolCall, ToolResult, read
from gateway.providers.judged import embedded, encoding_of
from gateway.providers.wishes import JsonFormat, ToolChoice, Wishes
from gateway.types import Usage

USER: dict[str, Any] = {"role": "user", "content": "赤？"}


def call(arguments: str = "{}", **more: object) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    made = {"id": "1", "type": "function", "function": function, **more}
    return {"role": "assistant", "content": None, "tool_calls": [made]}


def test_a_conversation_keeps_every_message_and_can_be_made_to_alternate():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    body: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": "a"},
            {"role": "developer", "content": [{"type": "text", "text": "b"}]},
            USER,
            {"role": "user", "content": [picture]},
            call('{"色":"赤"}', extra_content={"google": {"thought_signature": "s"}}),
            {"role": "tool", "tool_call_id": "1", "content": "晴れ"},
            USER,
        ]
    }
    found = read(body)
    assert found.system == ("a", "b")
    assert [turn.role for turn in found.turns] == ["user", "user", "assistant", "user", "user"]
    first, said, last = found.alternating()
    assert first.parts == (
        Text(text="赤？"),
        Image(url="data:image/png;base64,AA==", media_type="image/png", base64="AA=="),
    )
    extra = {"google": {"thought_signature": "s"}}
    assert said.parts == (ToolCall(id="1", name="f", arguments={"色": "赤"}, extra=extra),)
    assert last.parts == (
        ToolResult(id="1", name="f", content=(Text(text="晴れ"),)),
        Text(text="赤？"),
    )


def test_an_answer_can_be_sent_back_as_it_came():
    message: dict[str, Any] = {
        "role": "assistant", "content": "赤", "refusal": None, "tool_calls": None,
        "annotations": [], "reasoning_content": "うーん", "audio": None,
    }  # fmt: skip
    assert read({"messages": [USER, message]}).turns[1].parts == (Text(text="赤"),)


@pytest.mark.parametrize(
    "messages",
    [
        [USER, {"role": "system", "content": "late"}],
        [{"role": "function", "name": "f", "content": "x"}],
        [{**USER, "name": "花子"}],
        [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
        [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}],
        [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}
                ],
            }
        ],
        [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}],
        [USER, call(type="custom")],
    ],
)
def test_what_no_other_dialect_can_carry_is_refused(messages):
    with pytest.raises(UnsupportedParameter):
        read({"messages": messages})


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        ["text"],
        [{"role": "system", "content": "alone"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": ["text"]}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}],
        [USER, call("[1]")],
        [USER, call("{")],
        [USER, {"role": "assistant", "tool_calls": [{"id": "1"}]}],
        [USER, {"role": "tool", "tool_call_id": "2", "content": "x"}],
    ],
)
def test_what_is_no_conversation_is_the_callers_mistake(messages):
    with pytest.raises(InvalidRequest):
        read({"messages": messages})


def test_wishes_that_ask_for_nothing_end_well_and_all_others_are_refused_by_name():
    nothing = {"n": 1, "presence_penalty": 0, "logprobs": False, "seed": None, "user": "u"}
    Wishes({"messages": [], "stream": True, **nothing}).end("it")
    for name, value in {"n": 2, "seed": 0, "presence_penalty": 0.1, "logprobs": True}.items():
        with pytest.raises(UnsupportedParameter) as caught:
            Wishes({name: value}).end("it")
        assert caught.value.parameter == name


def test_two_limits_that_differ_contradict_each_other():
    assert Wishes({"max_tokens": 3, "max_completion_tokens": 3}).max_tokens() == 3
    with pytest.raises(InvalidRequest, match="contradict"):
        Wishes({"max_tokens": 3, "max_completion_tokens": 4}).max_tokens()


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, None),
        ("required", ToolChoice(kind="required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice(kind="named", name="f")),
    ],
)
def test_a_choice_of_tools_is_understood(given, wanted):
    assert Wishes({"tool_choice": given}).tool_choice() == wanted


def test_shapes_of_answers_are_understood_or_refused():
    assert Wishes({"response_format": {"type": "text"}}).json_format() is None
    assert Wishes({"response_format": {"type": "json_object"}}).json_format() == JsonFormat()
    for given in ({"type": "grammar"}, {"type": "json_schema"}, "json"):
        with pytest.raises(UnsupportedParameter):
            Wishes({"response_format": given}).json_format()
    with pytest.raises(UnsupportedParameter, match="by a schema only"):
        Wishes({"response_format": {"type": "json_object"}}).json_format(schema_only="it")


@pytest.mark.parametrize("value", [True, "0.5", [1]])
def test_a_number_is_a_number(value):
    with pytest.raises(InvalidRequest):
        Wishes({"temperature": value}).take_number("temperature", low=0, high=1, vendor="it")


def test_vectors_are_written_as_openais_own_client_asks_for_them():
    assert encoding_of({}) == "float"
    answer = embedded([[0.5, -1.0]], encoding="base64", usage=Usage(), model="m")
    assert b'"embedding":"AAAAPwAAgL8="' in answer.raw
