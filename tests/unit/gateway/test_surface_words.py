"""The surfaces' translations, without a network."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import (
    AccessDenied,
    EndpointUnavailable,
    InvalidRequest,
    QuotaExhausted,
    RateLimited,
    Unavailable,
    UnknownEndpoint,
)
from gateway.http import failure_of
from gateway.surfaces import anthropic_request, responses_request
from gateway.surfaces.access import key_in
from gateway.surfaces.anthropic_answer import MessageEvents
from gateway.surfaces.dialects import Dialect, asked, dialect_of
from gateway.surfaces.mlflow_requests import Unprocessable
from gateway.surfaces.refusals import openai_error, refusal_at, status_of
from gateway.surfaces.responses_answer import Head
from gateway.surfaces.responses_events import ResponseEvents
from gateway.surfaces.said import read
from gateway.types import EndpointType

OLD = "mlflow-python-client/2.8.1"
NEW = "mlflow-python-client/3.17.2"
PROXY = "python-requests/2.32"


@pytest.mark.parametrize(
    ("declared_as", "agent", "prefix", "body", "expected"),
    [
        ("endpoints", OLD, "gateway", {}, Dialect.CANDIDATES),
        ("routes", NEW, "gateway", {}, Dialect.CHOICES),
        ("routes", NEW, "gateway", {"candidate_count": 1}, Dialect.BOTH),
        ("endpoints", "curl/8", "gateway", {"text": "x"}, Dialect.CANDIDATES),
        ("routes", "curl/8", "gateway", {"n": 1}, Dialect.CHOICES),
        ("routes", "curl/8", "gateway", {}, Dialect.BOTH),
        ("endpoints", "curl/8", "gateway", {}, Dialect.CHOICES),
        ("endpoints", PROXY, "gateway", {}, Dialect.BOTH),
        ("routes", PROXY, "gateway", {"stream": True}, Dialect.CHOICES),
        ("routes", OLD, "endpoints", {}, Dialect.CHOICES),
    ],
)
def test_the_dialect_is_told_by_client_fields_and_declaration(
    declared_as, agent, prefix, body, expected
):
    found = dialect_of(declared_as, user_agent=agent, body=body, prefix=prefix)
    assert found is expected


def test_an_old_request_is_greedy_unless_it_says_otherwise_and_null_says_nothing():
    body: dict[str, Any] = {"prompt": "x", "candidate_count": 2, "stop": None, "max_tokens": None}
    request = asked(EndpointType.COMPLETIONS, Dialect.CANDIDATES, body)
    assert request == {"prompt": "x", "n": 2, "temperature": 0.0}
    assert asked(EndpointType.COMPLETIONS, Dialect.CHOICES, {"prompt": "x"}) == {"prompt": "x"}
    with pytest.raises(Unprocessable, match="candidate_count"):
        asked(EndpointType.COMPLETIONS, Dialect.CANDIDATES, {"prompt": "x", "n": 2})


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UnknownEndpoint("x"), 404),
        (EndpointUnavailable("x"), 424),
        (EndpointUnavailable("x", status=302), 424),
        (InvalidRequest("x", status=505), 424),
        (InvalidRequest("x", status=501), 501),
        (AccessDenied("x", status=401), 401),
        (QuotaExhausted("x", status=429), 402),
        (RateLimited("x", status=429), 429),
        (Unavailable("x", status=503), 503),
    ],
)
def test_what_fails_for_good_is_never_a_status_that_clients_ask_again(error, status):
    assert status_of(error) == status


def test_the_key_of_the_standard_header_goes_before_any_other():
    headers = [(b"x-api-key", b"second"), (b"authorization", b"Bearer first")]
    assert key_in(headers) == b"first"
    assert key_in(headers[:1]) == b"second"
    assert key_in([(b"authorization", b"Basic !")]) is None
    assert key_in([]) is None


def test_refusals_before_a_surface_speak_its_words():
    assert msgspec.json.decode(refusal_at("/v1/models", 401, "no"))["error"]["message"] == "no"
    assert msgspec.json.decode(refusal_at("/gateway/x/invocations", 404, "no")) == {"detail": "no"}
    said = msgspec.json.decode(refusal_at("/anthropic/v1/messages", 401, "no"))
    assert said == {"type": "error", "error": {"type": "authentication_error", "message": "no"}}


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"input": 7}, "input"),
        ({"input": "x", "previous_response_id": "r"}, "previous_response_id"),
        ({"input": "x", "background": True}, "background"),
        ({"input": "x", "truncation": "auto"}, "truncation"),
        ({"input": "x", "include": ["web_search_call.results"]}, "include"),
        ({"input": "x", "tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"input": "x", "made_up": 1}, "made_up"),
        ({"input": "x", "reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"input": "x", "top_logprobs": 3}, "top_logprobs"),
        ({"input": [{"type": "item_reference", "id": "i"}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
            "input[0].content[0].type",
        ),
    ],
)
def test_a_response_that_chat_cannot_give_is_refused_by_name(body, name):
    with pytest.raises(InvalidRequest) as refused:
        responses_request.to_chat(body)
    assert refused.value.code == name


def test_a_response_is_asked_by_chat_with_the_same_meaning():
    schema = {"type": "object"}
    body: dict[str, Any] = (
        {
            "instructions": "短く", "temperature": 0.5, "max_output_tokens": 9, "store": True,
            "reasoning": {"effort": "low"},
            "text": {"format": {"type": "json_schema", "name": "n", "schema": schema}},
            "tool_choice": {"type": "function", "name": "f"},
            "tools": [{"type": "function", "name": "f", "parameters": schema, "strict": None}],
            "input": [
                {"role": "developer", "content": "a"},
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                {"type": "function_call", "call_id": "2", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "b"},
            ],
        }
    )  # fmt: skip
    function = {"name": "f", "arguments": "{}"}
    assert responses_request.to_chat(body) == {
        "messages": [
            {"role": "system", "content": "短く"},
            {"role": "system", "content": "a"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": number, "type": "function", "function": function} for number in "12"
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "b"},
        ],
        "temperature": 0.5,
        "max_completion_tokens": 9,
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        "reasoning_effort": "low",
    }


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"thinking": {"type": "enabled"}}, "thinking"),
        ({"container": "c"}, "container"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools.0"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
            "messages.0.content.0",
        ),
        ({"messages": "x"}, "messages"),
    ],
)
def test_a_message_that_chat_cannot_give_is_refused_by_name(more, name):
    body = {"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]} | more
    with pytest.raises(InvalidRequest) as refused:
        anthropic_request.to_chat(body)
    assert refused.value.code == name


def test_results_of_tools_come_before_what_the_user_says_with_them():
    content = [
        {"type": "text", "text": "and now?"},
        {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "20度"}]},
    ]
    body: dict[str, Any] = {"max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    assert anthropic_request.to_chat(body)["messages"] == [
        {"role": "tool", "tool_call_id": "1", "content": "20度"},
        {"role": "user", "content": "and now?"},
    ]


PIECES = st.lists(
    st.one_of(
        st.text(min_size=1, max_size=4),
        st.tuples(st.integers(0, 2), st.text(alphabet='{}":ab', min_size=1, max_size=4)),
    ),
    max_size=12,
)


def chunks(pieces: list[str | tuple[int, str]]) -> list[bytes]:
    found = []
    for piece in pieces:
        if isinstance(piece, str):
            delta: dict[str, Any] = {"content": piece}
        else:
            call = {"index": piece[0], "id": f"c{piece[0]}", "function": {"arguments": piece[1]}}
            delta = {"tool_calls": [call]}
        found.append(msgspec.json.encode({"choices": [{"delta": delta}]}))
    return found


@given(PIECES)
def test_the_events_of_a_response_number_and_repeat_what_was_said(pieces):
    events = ResponseEvents(Head.of({}, "e"))
    sent = [*events.begin()]
    for chunk in chunks(pieces):
        sent += events.feed(read(chunk))
    sent += events.end()
    assert [event["sequence_number"] for event in sent] == list(range(len(sent)))
    said: Any = sent
    text = "".join(e["delta"] for e in said if e["type"] == "response.output_text.delta")
    assert text == "".join(piece for piece in pieces if isinstance(piece, str))
    output = said[-1]["response"]["output"]
    assert text == "".join(i["content"][0]["text"] for i in output if i["type"] == "message")
    arguments = "".join(i["arguments"] for i in output if i["type"] == "function_call")
    assert arguments == "".join(piece[1] for piece in pieces if not isinstance(piece, str))
    added = [e["output_index"] for e in said if e["type"] == "response.output_item.added"]
    assert added == list(range(len(output)))


@given(PIECES)
def test_the_blocks_of_a_message_are_opened_and_closed_in_turn(pieces):
    events = MessageEvents("e")
    sent: list[Any] = [*events.begin()]
    for chunk in chunks(pieces):
        sent += events.feed(read(chunk))
    sent += events.end()
    opened: int | None = None
    seen = 0
    for event in sent:
        match event["type"]:
            case "content_block_start":
                assert (opened, event["index"]) == (None, seen)
                opened, seen = event["index"], seen + 1
            case "content_block_delta":
                assert event["index"] == opened
            case "content_block_stop":
                assert event["index"] == opened
                opened = None
            case _:
                pass
    assert opened is None
    deltas = [e["delta"] for e in sent if e["type"] == "content_block_delta"]
    said = "".join(d["text"] for d in deltas if d["type"] == "text_delta")
    assert said == "".join(piece for piece in pieces if isinstance(piece, str))


@pytest.mark.parametrize(
    ("error", "param", "code"),
    [
        (
            b'{"message":"m","type":"invalid_request_error","param":"temperature","code":null}',
            "temperature", "invalid_request_error",
        ),
        (b'{"message":"m","type":"t","param":null,"code":"too_long"}', None, "too_long"),
        (b'{"message":"m","type":"t","param":7}', None, "t"),
        (b'"words"', None, None),
    ],
)  # fmt: skip
def test_the_parameter_that_a_vendor_names_is_passed_on_and_its_code_is_not_taken_for_one(
    error, param, code
):
    told = openai_error(failure_of(400, {}, b'{"error":%s}' % error))
    assert (told["param"], told["code"]) == (param, code)
