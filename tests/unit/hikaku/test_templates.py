import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikaku import templates
from hikaku.errors import InvalidInput
from hikaku.templates import MAX_VARIABLES, Template, parse

NAMES = st.text(st.sampled_from("abZ_-9質問物が字é" + "か\u3099" + "ค้"), min_size=1, max_size=8)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0{}｛｝"))
JSON_VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


def one(content: str) -> Template:
    return parse([("user", content)])


def rendered(content: str, **variables: object) -> str:
    (message,) = one(content).render(variables, row=0)
    return message.content


def test_a_japanese_question_is_filled_in():
    assert rendered("{{object}}は何色ですか?", object="りんご") == "りんごは何色ですか?"


def test_roles_and_their_order_are_kept():
    template = parse([("system", "{{a}}です"), ("user", "{{b}}と{{a}}")])
    messages = template.render({"a": "甲", "b": "乙", "c": "丙"}, row=3)
    assert [(m.role, m.content) for m in messages] == [("system", "甲です"), ("user", "乙と甲")]
    assert template.variables == ("a", "b")


@pytest.mark.parametrize(
    "name", ["質問", "か\u3099", "question_2", "q-1", "सवाल", "カテゴリー", "ＡＢ"]
)
def test_names_of_any_script_are_variables(name):
    assert one(f"x {{{{ \u3000{name}\t}}}} y").variables == (name,)


def test_names_are_compared_exactly():
    with pytest.raises(InvalidInput, match=r"row 7 has no \{\{Object\}\}; its columns are: object"):
        one("{{Object}}").render({"object": "x"}, row=7)


@pytest.mark.parametrize(
    "payload",
    [
        "{{ 7*7 }}",
        "{{x.y}}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ 'a' * 200000000 }}",
        "{% for x in y %}{{ x() }}{% endfor %}",
        "${7*7} #{7*7} <%= 7*7 %> ${{7*7}}",
        "{{#if x}}y{{/if}}",
        "{{config.items()}}",
        "{{ a|attr('x') }}",
        "{{a\nb}}",
        '{"a": {"b": 1}}',
        "}} {x} }}",
    ],
)
def test_what_is_not_a_name_stays_text_in_templates_and_in_values(payload):
    assert one(payload).variables == ()
    assert rendered(payload) == payload
    assert rendered("<{{v}}>", v=payload) == f"<{payload}>"


def test_a_value_that_looks_like_a_variable_is_not_filled_in_again():
    assert rendered("{{質問}} {{object}}", 質問="{{object}}", object="x") == "{{object}} x"
    assert rendered("{{a}}{{b}}", a="{{", b="c}}") == "{{c}}"


def test_braces_around_a_variable_stay():
    assert rendered("{{{x}}}", x="1") == "{1}"


def test_values_that_are_not_text_are_written_as_json():
    assert rendered("{{a}} {{b}} {{c}} {{d}}", a=True, b=1.5, c=["é", None], d={"色": "赤"}) == (
        'true 1.5 ["é", null] {"色": "赤"}'
    )


def test_null_and_not_a_number_are_refused_by_name_and_row():
    with pytest.raises(InvalidInput, match=r"row 4 holds null for \{\{a\}\}") as caught:
        one("{{a}}").render({"a": None}, row=4)
    assert caught.value.faults[0].pointer == "/rows/4"
    with pytest.raises(InvalidInput, match=r"row 4 holds a value for \{\{a\}\} that is not JSON"):
        one("{{a}}").render({"a": float("nan")}, row=4)


def test_a_missing_variable_names_the_column_that_was_meant():
    with pytest.raises(InvalidInput, match="Did you mean 'question'"):
        one("{{qestion}}").render({"question": "x"}, row=0)
    with pytest.raises(InvalidInput, match="another spelling"):
        one("{{が}}").render({"か\u3099": "x"}, row=0)
    with pytest.raises(InvalidInput, match=r"its columns are: \(none\)"):
        one("{{a}}").render({}, row=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\nbc{{name", "'{{name' at line 2, column 3 opens"),
        ("{{name, {{city}}", "at line 1, column 1 opens"),
        ("x {{ }}", "line 1, column 3 has no name"),
        ("｛｛質問｝｝", "write {{質問}}"),
        ("{｛ x }}", "write {{x}}"),
        ("a\0", r"U\+0000 at line 1, column 2"),
        ("\ud800", r"U\+D800 at line 1, column 1"),
    ],
)
def test_a_faulty_template_is_refused_with_place_and_mend(content, message):
    with pytest.raises(InvalidInput, match=message) as caught:
        parse([("system", "fine"), ("user", content)])
    assert [fault.pointer for fault in caught.value.faults] == ["/messages/1/content"]


def test_every_fault_is_reported_at_once():
    with pytest.raises(InvalidInput) as caught:
        parse([("system", "{{ }}"), ("user", "｛｛x｝｝ {{y")])
    assert [fault.pointer for fault in caught.value.faults] == [
        "/messages/0/content",
        "/messages/1/content",
        "/messages/1/content",
    ]


def test_a_template_without_messages_is_refused():
    with pytest.raises(InvalidInput, match="at least one message"):
        parse([])


def test_sizes_are_limited():
    with pytest.raises(InvalidInput, match="201 variables; the limit is 200"):
        one("".join(f"{{{{v{n}}}}}" for n in range(MAX_VARIABLES + 1)))
    with pytest.raises(InvalidInput, match="the limit is 1,000,000"):
        one("x" * 1_000_001)
    with pytest.raises(InvalidInput, match="the prompt of row 2 has 5,000,000 characters"):
        one("{{a}}" * 5).render({"a": "x" * 1_000_000}, row=2)


@pytest.mark.parametrize("hostile", ["{{" + " " * 999_000, "{" * 999_000, "{{ }}" * 199_000])
def test_hostile_templates_are_judged_quickly(hostile):
    began = time.process_time()
    with pytest.raises(InvalidInput) as caught:
        one(hostile)
    assert time.process_time() - began < 2
    assert len(caught.value.faults) <= 20


@given(parts=st.lists(st.tuples(TEXTS, NAMES)), end=TEXTS)
def test_filling_every_variable_with_itself_is_the_identity(parts, end):
    content = "".join(f"{text}{{{{{name}}}}}" for text, name in parts) + end
    template = one(content)
    assert template.variables == tuple(dict.fromkeys(name for _, name in parts))
    itself = {name: f"{{{{{name}}}}}" for name in template.variables}
    assert template.render(itself, row=0)[0].content == content


@given(parts=st.lists(st.tuples(TEXTS, NAMES)), values=st.lists(st.text(), min_size=1))
def test_every_place_gets_its_own_value_whatever_the_value_holds(parts, values):
    names = tuple(dict.fromkeys(name for _, name in parts))
    row = {name: values[n % len(values)] for n, name in enumerate(names)}
    content = "".join(f"{text}{{{{{name}}}}}" for text, name in parts)
    expected = "".join(text + row[name] for text, name in parts)
    assert one(content).render(row, row=0)[0].content == expected


@given(JSON_VALUES)
def test_json_values_can_be_read_back_from_the_prompt(value):
    assert json.loads(rendered("{{v}}", v=value)) == value


@given(st.text())
def test_names_are_letters_marks_digits_hyphen_and_underscore(text):
    if templates.is_name(text):
        assert one(f"{{{{{text}}}}}").variables == (text,)
        assert not set(text) & set(" .*{}()'\"\n")


@given(st.text(st.sampled_from("{}｛｝ \n\t\0ab語.*-")))
def test_any_text_is_a_template_or_refused(content):
    with suppress(InvalidInput):
        template = one(content)
        blank = dict.fromkeys(template.variables, "")
        (message,) = template.render(blank, row=0)
        assert len(message.content) <= len(content) - 5 * len(template.variables)
