import json
from datetime import UTC, datetime
from typing import Any

import pytest

from hikaku.jobs import Outcome
from hikaku.specs import Snapshot
from hikaku.storage.results import CellKey, ReadCell, ReadScore
from workers.tracking.table import FILE, write_table

ODD = "か\u3099 👩‍👩‍👧 \u202eabc\u202c \u2028 \U00020bb7 \\u3042 \"'"


def snapshot(messages=(("user", "{{質問}}は?"),), variables=("質問",), scorers=("em",), repeats=1):
    return Snapshot.model_validate(
        {
            "prompt": {
                "id": None,
                "name": None,
                "version": None,
                "messages": [{"role": role, "content": content} for role, content in messages],
                "variables": variables,
            },
            "dataset": {"id": "ds_1", "name": None, "revision": None, "n_rows": 2}
            | {"fingerprint": "f"},
            "endpoints": [],
            "scorers": [
                {"type": "exact_match", "name": name, "version": 1, "target": "expected"}
                | {"options": {}}
                for name in scorers
            ],
            "repeats": repeats,
            "baseline": "a",
            "reuse": "off",
            "tags": {},
        }
    )


def cell(row=0, variables=None, scores=(1.0,), **changes):
    given: dict[str, Any] = {
        "key": CellKey(0, row, 0),
        "row_key": f"r{row}",
        "variables": variables or {"質問": ODD, "expected": "赤", "unread": "x"},
        "outcome": Outcome.OK,
        "completion": ODD,
        "finish_reason": "stop",
        "input_tokens": 3,
        "output_tokens": 4,
        "latency_ms": 12.5,
        "cost_usd": None,
        "error": None,
        "reused": False,
        "n_attempts": 1,
        "recorded_at": datetime(2026, 11, 21, tzinfo=UTC),
        "scores": tuple(
            ReadScore(scorer=number, value=value, unscored=None, detail=None)
            for number, value in enumerate(scores)
        ),
    }
    return ReadCell(**(given | changes))


@pytest.fixture
def written(tmp_path):
    def write(given, *cells, **limits):
        rows = write_table(tmp_path / FILE, given, cells, **limits)
        table = json.loads((tmp_path / FILE).read_bytes())
        assert table.keys() == {"columns", "data"}
        assert len(set(table["columns"])) == len(table["columns"])
        assert len(table["data"]) == rows
        return [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]

    return write


def test_text_is_written_as_utf_8_and_never_escaped(tmp_path, written):
    written(snapshot(), cell())
    raw = (tmp_path / FILE).read_bytes()
    assert b"\\u3042" in raw, "a backslash of the user's"
    assert raw.count(json.dumps(ODD, ensure_ascii=False).encode()) == 2
    assert raw.count(b"\\u") == raw.count(b"\\\\u")


def test_columns_are_what_prompt_and_scorers_read_then_ours(written):
    assert list(written(snapshot(), cell())[0].items()) == [
        ("質問", ODD),
        ("expected", "赤"),
        ("prompt", f"{ODD}は?"),
        ("output", ODD),
        ("em/score", 1.0),
        ("outcome", "ok"),
        ("error", None),
        ("row", "r0"),
        ("MLFLOW_latency", 12.5),
        ("MLFLOW_total_tokens", 7),
        ("input_tokens", 3),
        ("output_tokens", 4),
    ]


def test_a_variable_called_like_a_column_of_ours_makes_way(written):
    given = snapshot(messages=[("user", "{{output}}")], variables=["output"])
    row = written(given, cell(variables={"output": "theirs", "expected": None}))[0]
    assert (row["output (variable)"], row["output"]) == ("theirs", ODD)


def test_a_value_that_is_no_text_is_shown_as_the_prompt_shows_it(written):
    row = written(snapshot(), cell(variables={"質問": ["赤", 1], "expected": 3}))[0]
    assert row["質問"] == '["赤", 1]'
    assert row["prompt"] == '["赤", 1]は?'
    assert row["expected"] == "3"


def test_a_cell_that_could_not_be_rendered_has_no_prompt(written):
    row = written(snapshot(), cell(variables={"質問": None}, outcome=Outcome.INVALID_REQUEST))[0]
    assert row["prompt"] is None


def test_tokens_that_one_side_did_not_report_have_no_total(written):
    assert written(snapshot(), cell(input_tokens=None))[0]["MLFLOW_total_tokens"] is None


def test_several_messages_name_their_roles(written):
    given = snapshot(messages=[("system", "短く"), ("user", "{{質問}}")])
    row = written(given, cell(variables={"質問": "空は?"}))[0]
    assert row["prompt"] == "[system]\n短く\n\n[user]\n空は?"


def test_repeats_are_told_apart(written):
    assert written(snapshot(repeats=2), cell())[0]["repeat"] == 0


def test_only_the_first_rows_are_written_and_no_more_are_read(tmp_path):
    def cells():
        yield from (cell(number) for number in range(3))
        raise AssertionError("a fourth cell was read")

    assert write_table(tmp_path / FILE, snapshot(), cells(), max_rows=3) == 3


def test_a_table_never_outgrows_its_bytes(tmp_path, written):
    rows = written(snapshot(), *(cell(n, completion="赤" * 100) for n in range(50)), max_bytes=4000)
    assert 1 < len(rows) < 50
    assert (tmp_path / FILE).stat().st_size <= 4000 + 4


def test_no_cells_make_an_empty_table(written):
    assert written(snapshot()) == []
