"""TGI's parameters: what is refused, when text is sampled, what the answers look like."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.models import answers, wire
from stack.models.errors import ValidationError
from stack.models.generation import Ended, Finish, Prompt, Token
from stack.models.wire import ChatRequest, GenerateRequest, Parameters

PROMPT = Prompt(text="りんごは", tokens=(1, 2, 3))
TOKENS = [
    Token(id=7, text="赤", logprob=-0.5),
    Token(id=8, text="い", logprob=-0.25),
    Token(id=9, text="<|end|>", logprob=None, special=True),
]


def generated(finish: Finish = Finish.EOS_TOKEN) -> answers.Generated:
    ended = Ended(finish=finish, generated_tokens=3)
    return answers.Generated(prompt=PROMPT, tokens=TOKENS, ended=ended, seed=None)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"temperature": 0}, "`temperature` must be strictly positive"),
        ({"top_p": 0}, "`top_p` must be > 0.0 and <= 1.0"),
        ({"top_p": 1.5}, "`top_p` must be > 0.0 and <= 1.0"),
        ({"top_k": 0}, "`top_k` must be strictly positive"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be strictly positive"),
        ({"stop": list("abcde")}, "`stop` supports up to 4 stop sequences. Given: 5"),
        ({"top_n_tokens": 6}, "`top_n_tokens` must be >= 0 and <= 5"),
        ({"best_of": 2}, "`best_of` must be > 0 and <= 1"),
        ({"repetition_penalty": 0}, "`repetition_penalty` must be strictly positive"),
        ({"frequency_penalty": 2.5}, "`frequency_penalty` must be >= -2.0 and <= 2.0"),
        ({"grammar": {"type": "regex", "value": "a+"}}, "type `regex` are not served"),
        ({"watermark": True}, "watermarks are not served"),
        ({"adapter_id": "x"}, "adapters are not served"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(parameters, message):
    with pytest.raises(ValidationError) as refusal:
        wire.native_sampling(Parameters(**parameters))
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("Input validation error: ")


def test_native_text_is_greedy_until_a_sampling_parameter_is_set():
    assert wire.native_sampling(Parameters()).temperature == 0.0
    for parameters in ({"do_sample": True}, {"top_k": 5}, {"top_p": 0.5}, {"typical_p": 0.5}):
        assert wire.native_sampling(Parameters(**parameters)).temperature == 1.0
    assert wire.native_sampling(Parameters(temperature=0.3)).temperature == 0.3


def test_native_parameters_left_out_altogether_mean_sampling():
    assert GenerateRequest(inputs="x").parameters.do_sample
    assert not GenerateRequest(inputs="x", parameters={}).parameters.do_sample


def test_a_chat_temperature_of_zero_is_greedy():
    request = ChatRequest(messages=[{"role": "user", "content": "x"}], temperature=0)
    assert wire.chat_sampling(request).temperature == 0.0


def test_a_chat_without_messages_is_refused():
    with pytest.raises(ValidationError, match="at least one message"):
        wire.chat_sampling(ChatRequest(messages=[]))


def test_tools_are_refused_and_not_ignored():
    request = ChatRequest(messages=[{"role": "user", "content": "x"}], tools=[{"type": "function"}])
    with pytest.raises(ValidationError) as refusal:
        wire.chat_sampling(request)
    assert refusal.value.kind == "tool_error"


def test_a_seed_is_drawn_for_sampled_text_and_only_for_that():
    assert wire.native_sampling(Parameters()).seed is None
    assert wire.native_sampling(Parameters(do_sample=True)).seed is not None
    assert wire.native_sampling(Parameters(do_sample=True, seed=7)).seed == 7


def test_max_completion_tokens_is_another_name_for_max_tokens():
    request = ChatRequest.model_validate({"messages": [], "max_completion_tokens": 5})
    assert request.max_tokens == 5


@pytest.mark.parametrize(
    "grammar",
    [
        {"type": "json", "value": {"type": "object"}},
        {"type": "json_object", "value": {"type": "object"}},
        {"type": "json_object"},
        {"type": "json_schema", "value": {"name": "n", "schema": {"type": "object"}}},
    ],
)
def test_every_way_to_write_a_json_grammar_becomes_a_schema(grammar):
    assert wire.native_sampling(Parameters(grammar=grammar)).json_schema == {"type": "object"}


def test_details_are_there_when_asked_for_and_only_then():
    plain = answers.native_body(generated(), full_text=False, details=False, prefill=[], top=False)
    assert plain == {"generated_text": "赤い"}
    full = answers.native_body(generated(), full_text=True, details=True, prefill=[], top=False)
    assert full["generated_text"] == "りんごは赤い"
    details = json.loads(json.dumps(full["details"]))
    assert details["finish_reason"] == "eos_token"
    assert [token["special"] for token in details["tokens"]] == [False, False, True]


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish.EOS_TOKEN, "stop"),
        (Finish.LENGTH, "length"),
        (Finish.STOP_SEQUENCE, "stop_sequence"),
    ],
)
def test_chat_answers_have_an_empty_id_and_tgis_finish_words(finish, word):
    body = json.loads(json.dumps(answers.chat_body("m", generated(finish), logprobs=True)))
    choice = body["choices"][0]
    assert (body["id"], body["object"]) == ("", "chat.completion")
    assert (choice["finish_reason"], choice["message"]["content"]) == (word, "赤い")
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == ["赤", "い"]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


@given(st.lists(st.binary(min_size=1, max_size=5), max_size=20))
def test_spans_of_tokens_cover_the_text_without_gap(pieces):
    spans = answers.token_spans(list(enumerate(pieces)))
    edges = [0, *(span["stop"] for span in spans)]
    assert [span["start"] for span in spans] == edges[:-1]
    assert edges[-1] == sum(map(len, pieces))
