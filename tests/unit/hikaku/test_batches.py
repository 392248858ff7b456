import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikaku import batches
from hikaku.batches import RequestReader
from hikaku.specs import RequestPath

CHAT = RequestPath.CHAT
GOOD = {
    "custom_id": "一",
    "method": "POST",
    "url": CHAT.value,
    "body": {"model": "a", "messages": []},
}


def nothing_wrong(_):
    return None


def read(*lines, check=nothing_wrong):
    text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    reader = RequestReader(CHAT, check)
    rows = list(reader.rows(["\n".join(text).encode()]))
    return reader, rows


def faults(*lines, **how):
    reader, _ = read(*lines, **how)
    return [(fault.line, fault.code, fault.param) for fault in reader.faults]


def test_a_request_becomes_a_row_with_its_line_as_it_came():
    line = '{"custom_id":"一", "method":"POST","url":"/v1/chat/completions","body":{"model":"a","temperature":1.50,"x":"\\u0000"}}'  # noqa: E501
    reader, [row] = read(line)
    assert reader.faults == []
    assert (row.number, row.key, row.text) == (0, "一", line)
    assert reader.model == "a"


def test_a_byte_order_mark_and_empty_lines_do_not_count():
    text = "\ufeff" + json.dumps(GOOD) + "\r\n\n  \n" + json.dumps(GOOD | {"custom_id": "2"}) + "\n"
    reader = RequestReader(CHAT, nothing_wrong)
    assert [row.key for row in reader.rows([text.encode()])] == ["一", "2"]
    assert reader.n_requests == 2


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        ("{", "invalid_json_line", None),
        ("[]", "invalid_json_line", None),
        ("[" * 100_000, "invalid_json_line", None),
        ('{"a": 1e999}', "invalid_json_line", None),
        ({}, "missing_required_parameter", "custom_id"),
        (GOOD | {"custom_id": 1}, "invalid_type", "custom_id"),
        (GOOD | {"custom_id": ""}, "invalid_value", "custom_id"),
        (GOOD | {"custom_id": "x\0"}, "invalid_value", "custom_id"),
        (GOOD | {"custom_id": "x" * 513}, "invalid_value", "custom_id"),
        (GOOD | {"method": "GET"}, "invalid_value", "method"),
        (GOOD | {"url": "/v1/embeddings"}, "url_mismatch", "url"),
        (GOOD | {"body": []}, "invalid_type", "body"),
        (GOOD | {"body": {}}, "missing_required_parameter", "body.model"),
        (GOOD | {"body": {"model": 1}}, "invalid_type", "body.model"),
    ],
)
def test_a_line_that_is_no_request_is_named_with_its_fault(line, code, param):
    assert faults(GOOD | {"custom_id": "0"}, line) == [(2, code, param)]


def test_requests_of_one_batch_differ_in_their_ids_and_share_their_model():
    other = GOOD | {"custom_id": "2", "body": {"model": "b"}}
    assert faults(GOOD, GOOD, other) == [
        (2, "duplicate_custom_id", "custom_id"),
        (3, "model_mismatch", "body.model"),
    ]


def test_a_model_that_cannot_be_asked_is_refused_in_the_words_of_who_knows():
    reader, rows = read(GOOD, check=lambda model: f"no {model}")
    assert rows == []
    assert [(fault.code, fault.message) for fault in reader.faults] == [("model_not_found", "no a")]


def test_no_row_follows_a_fault_but_later_faults_are_found():
    lines = [GOOD | {"custom_id": str(n)} for n in range(4)]
    reader, rows = read(lines[0], "{", lines[2], "}")
    assert [row.key for row in rows] == ["0"]
    assert [fault.line for fault in reader.faults] == [2, 4]


def test_an_empty_file_says_so():
    assert faults("", " ") == [(None, "empty_file", None)]


def test_a_file_is_not_complained_about_for_ever():
    assert len(faults(*["{"] * 1_000)) == batches.MAX_FAULTS


def test_more_requests_than_a_batch_holds_are_refused(monkeypatch):
    monkeypatch.setattr(batches, "MAX_REQUESTS", 3)
    lines = [GOOD | {"custom_id": str(n)} for n in range(9)]
    assert faults(*lines) == [(4, "too_many_tasks", None)]


def test_a_line_without_end_is_refused_and_not_held(monkeypatch):
    monkeypatch.setattr(batches, "MAX_LINE_BYTES", 1_000)
    reader = RequestReader(CHAT, nothing_wrong)
    pieces = [b'{"custom_id": "'] + [b"x" * 600] * 50 + [b"\n", json.dumps(GOOD).encode()]
    assert list(reader.rows(pieces)) == []
    assert [(fault.line, fault.code) for fault in reader.faults] == [(1, "invalid_json_line")]


@given(st.lists(st.integers(1, 60), max_size=40))
def test_how_a_file_is_cut_into_chunks_does_not_matter(cuts):
    lines = [GOOD | {"custom_id": f"り{n}"} for n in range(5)]
    content = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines).encode()
    chunks, start = [], 0
    for cut in cuts:
        chunks.append(content[start : start + cut])
        start += cut
    chunks.append(content[start:])
    reader = RequestReader(CHAT, nothing_wrong)
    assert [row.key for row in reader.rows(chunks)] == [f"り{n}" for n in range(5)]
