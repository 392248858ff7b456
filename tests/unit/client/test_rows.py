import json
from itertools import repeat

import numpy as np
import pandas as pd
import pytest
from hikaku_client.errors import InvalidRequest
from hikaku_client.rows import MAX_INLINE_BYTES, MAX_INLINE_ROWS, as_json, file_type, head, lines
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=5,
)


@given(st.lists(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON)))
def test_rows_that_are_json_come_out_as_they_went_in(rows):
    assert [json.loads(line) for line in b"".join(lines(as_json(rows))).splitlines()] == rows


def test_a_frame_keeps_its_columns_numbers_and_gaps():
    frame = pd.DataFrame({"物": ["りんご", None], "n": np.array([1, 2]), "x": [0.5, float("nan")]})
    assert list(as_json(frame)) == [
        {"物": "りんご", "n": 1, "x": 0.5},
        {"物": None, "n": 2, "x": None},
    ]
    assert type(next(as_json(frame))["n"]) is int


def test_nullable_columns_times_and_arrays_become_json():
    frame = pd.DataFrame(
        {
            "n": pd.array([1, None], dtype="Int64"),
            "t": pd.Series([pd.Timestamp("2026-01-01"), pd.NaT]),
            "b": [np.True_, np.False_],
            "a": [np.array([1, 2]), np.array([3.5])],
        }
    )
    assert list(as_json(frame)) == [
        {"n": 1, "t": "2026-01-01 00:00:00", "b": True, "a": [1, 2]},
        {"n": None, "t": None, "b": False, "a": [3.5]},
    ]


def test_polars_and_arrow_are_known_by_what_they_can_do():
    class Polars:
        columns = ("q",)

        def iter_rows(self, *, named):
            assert named
            return iter([{"q": 1}])

    class Arrow:
        def to_pylist(self):
            return [{"q": 2}]

    assert [*as_json(Polars()), *as_json(Arrow())] == [{"q": 1}, {"q": 2}]


def test_a_value_that_is_no_json_names_row_and_column():
    with pytest.raises(InvalidRequest, match=r"row 2, 'q' is a object"):
        list(as_json([{"q": 1}, {"q": object()}]))


def test_a_row_that_is_no_mapping_is_named():
    with pytest.raises(InvalidRequest, match="row 1 is a str"):
        list(as_json(["q"]))  # type: ignore[list-item]


@pytest.mark.parametrize("names", [["a", "q", "q"], ["a", 1, "1"]])
def test_columns_of_one_name_are_refused_before_one_is_lost(names):
    frame = pd.DataFrame([[0, 1, 2]], columns=pd.Index(names, dtype=object))
    fault = f"the frame has the name {str(names[1])!r} twice"
    with pytest.raises(InvalidRequest, match=fault):
        list(as_json(frame))
    with pytest.raises(InvalidRequest, match=fault):
        list(as_json(frame.head(0)))


def test_an_arrow_table_with_two_columns_of_one_name_is_refused():
    class Arrow:
        column_names = ("q", "q")

        def to_pylist(self):
            return [{"q": 2}]

    with pytest.raises(InvalidRequest, match="the table has the name 'q' twice"):
        list(as_json(Arrow()))


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({1: "a", "1": "b"}, r"row 2 has the name '1' twice \(1 and '1'\)"),
        ({"q": [{1: "a", "1": "b"}]}, "row 2, 'q' has the name '1' twice"),
    ],
)
def test_names_that_are_one_as_text_are_refused_in_a_row(row, fault):
    with pytest.raises(InvalidRequest, match=fault):
        list(as_json([{"q": 1}, row]))


def test_the_largest_job_that_fits_travels_inline():
    rows, many = head(iter(repeat({"q": 1}, MAX_INLINE_ROWS)))
    assert (len(rows), many) == (MAX_INLINE_ROWS, None)


def test_one_row_more_goes_another_way_and_none_is_lost():
    rows, many = head({"q": i} for i in range(MAX_INLINE_ROWS + 5))
    assert rows == []
    assert many is not None
    assert [row["q"] for row in many] == list(range(MAX_INLINE_ROWS + 5))


def test_few_rows_that_are_large_go_another_way_and_none_is_lost():
    taken = []

    def source():
        for i in range(50):
            taken.append(i)
            yield {"q": "あ" * (MAX_INLINE_BYTES // 30)}

    rows, many = head(source())
    assert rows == []
    assert len(taken) == 10
    assert many is not None
    assert len(list(many)) == len(taken) == 50


def test_rows_of_just_the_largest_size_travel_inline():
    frame = len('{"q":""}')
    assert head(iter([{"q": "x" * (MAX_INLINE_BYTES - frame)}]))[1] is None
    assert head(iter([{"q": "x" * (MAX_INLINE_BYTES - frame + 1)}]))[1] is not None


def test_lines_come_in_pieces_as_rows_are_taken():
    taken = []

    def source():
        for i in range(10_000):
            taken.append(i)
            yield {"q": "x" * 100}

    pieces = lines(source())
    assert len(next(pieces)) < 70_000
    assert len(taken) < 1_000


def test_a_file_tells_its_format_by_name(tmp_path):
    assert file_type(tmp_path / "a.CSV").format == "csv"
    assert file_type(tmp_path / "a.txt", "jsonl").media_type == "application/x-ndjson"
    with pytest.raises(InvalidRequest, match="say which format"):
        file_type(tmp_path / "a.txt")
