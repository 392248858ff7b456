import codecs
import csv
import hashlib
import io
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from itertools import repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikaku.datasets import (
    Columns,
    Fingerprint,
    Format,
    SourceRow,
    detect_encoding,
    inline_rows,
    read_rows,
    reading,
    sniff,
)
from hikaku.datasets.encodings import known_encoding
from hikaku.datasets.rows import MAX_COLUMNS, MAX_ROW_BYTES
from hikaku.errors import InvalidInput

STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | STORABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STORABLE, inner, max_size=3),
    max_leaves=8,
)
ROWS = st.lists(
    st.dictionaries(st.text("abc語 ", min_size=1), VALUES, min_size=1, max_size=4),
    min_size=1,
    max_size=5,
)


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def attempted(rows: Iterator[SourceRow]) -> list[SourceRow] | InvalidInput:
    try:
        return list(rows)
    except InvalidInput as error:
        return error


def rows_of(data: bytes, written: str = "jsonl", *, encoding=None, size=7) -> list[SourceRow]:
    """Read an upload whole, and again cut into small pieces, which must make no difference."""
    read = attempted(read_rows(iter([data]), format=Format(written), encoding=encoding))
    codec = known_encoding(encoding, data) if encoding else detect_encoding(data)
    pieces = attempted(reading._rows(cut(data, size), Format(written), codec))
    if isinstance(read, list):
        assert pieces == read
        return read
    assert str(pieces) == str(read) or (pieces == [] and "there are no rows" in str(read))
    raise read


def fault_of(data: bytes, written: str = "jsonl", **options) -> tuple[str, str]:
    with pytest.raises(InvalidInput) as caught:
        rows_of(data, written, **options)
    (fault,) = caught.value.faults
    assert str(caught.value) == f"{fault.pointer}: {fault.message}"
    return fault.pointer, fault.message


# --- what is kept -------------------------------------------------------------------------------


def test_the_text_of_a_row_keeps_key_order_number_spelling_and_every_character():
    line = (
        '{ "b" : 1.10, "a":[1e5, -0, 12345678901234567890123], "語": "é e\\u0301 \\u8a9e \\/ \\n"}'
    )
    (row,) = rows_of(line.encode())
    assert row.text == ('{"b":1.10,"a":[1e5,-0,12345678901234567890123],"語":"é e\u0301 語 / \\n"}')
    assert list(row.data) == ["b", "a", "語"]
    assert row.data["語"] == "é e\u0301 語 / \n"


@given(rows=ROWS, size=st.integers(1, 30), ascii_only=st.booleans())
def test_jsonl_is_read_as_it_was_written_however_it_is_cut(rows, size, ascii_only):
    lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
    read = rows_of(lines.encode(), size=size)
    assert [row.data for row in read] == rows
    assert [row.number for row in read] == list(range(len(rows)))
    plain = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows]
    assert [row.text for row in read] == plain


@given(rows=ROWS, size=st.integers(1, 30), indent=st.sampled_from([None, 2]))
def test_json_arrays_give_the_rows_that_jsonl_gives(rows, size, indent):
    array = json.dumps(rows, ensure_ascii=False, indent=indent).encode()
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    assert rows_of(array, "json", size=size) == rows_of(lines)


@given(
    table=st.lists(st.tuples(STORABLE, STORABLE), min_size=1, max_size=5),
    size=st.integers(1, 30),
    written=st.sampled_from([("csv", ","), ("tsv", "\t")]),
)
def test_csv_fields_come_back_character_for_character(table, size, written):
    name, delimiter = written
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("質問", "b"), *table])
    read = rows_of(out.getvalue().encode(), name, encoding="utf-8", size=size)
    assert [tuple(row.data.values()) for row in read] == table
    assert [json.loads(row.text) for row in read] == [row.data for row in read]


def test_escaped_and_plain_spellings_of_a_row_have_one_fingerprint():
    assert rows_of('{"a":"語\\/"}'.encode())[0].text == rows_of(b'{ "a": "\\u8a9e/" }')[0].text


def test_blank_lines_and_line_ends_of_windows_are_passed_over():
    rows = rows_of(b'\xef\xbb\xbf\r\n{"a":1}\r\n  \n{"a":2}')
    assert [row.data["a"] for row in rows] == [1, 2]
    assert [row.data for row in rows_of(b"a,b\r\n\r\n1,2\r\n", "csv")] == [{"a": "1", "b": "2"}]


def test_line_breaks_inside_quotes_are_kept():
    (row,) = rows_of('a,b\n"x\r\ny","say ""hi"", 語"\n'.encode(), "csv")
    assert row.data == {"a": "x\r\ny", "b": 'say "hi", 語'}


# --- keys and fingerprints ----------------------------------------------------------------------


def test_a_row_is_known_by_its_own_id_or_by_its_content():
    keys = [row.key for row in rows_of(b'{"id":"q1"}\n{"id":17}\n{"x":1}\n{"id":true}\n{"id":""}')]
    hashes = [
        hashlib.sha256(text).hexdigest()[:16] for text in (b'{"x":1}', b'{"id":true}', b'{"id":""}')
    ]
    assert keys == ["q1", "17", *hashes]
    assert [row.key for row in rows_of(b"id,a\n17,x\n", "csv")] == ["17"]


def test_a_fingerprint_depends_on_content_and_order_but_not_on_where_rows_end():
    def digest(*texts: str) -> bytes:
        fingerprint = Fingerprint()
        for text in texts:
            fingerprint.update(text)
        return fingerprint.digest()

    assert len(digest("a")) == 32
    assert len({digest("a", "b"), digest("b", "a"), digest("ab"), digest("a\\nb")}) == 4
    assert digest("a", "b") == digest("a", "b")


def test_columns_are_named_in_order_of_first_appearance():
    columns = Columns()
    for row in ({"b": 1}, {"a": 1, "b": 2}, {"b": 1}):
        columns.add(row)
    assert columns.names == ("b", "a")


# --- encodings ----------------------------------------------------------------------------------

QUESTION = "質問,答え\nりんごは何色ですか。,赤～①\n"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16", "utf-16-le", "utf-16-be"]
)
def test_named_encodings_are_read_however_characters_are_cut(encoding, size):
    (row,) = rows_of(QUESTION.encode(encoding), "csv", encoding=encoding, size=size)
    assert row.data == {"質問": "りんごは何色ですか。", "答え": "赤～①"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932", "utf-16"])
@pytest.mark.parametrize("written", ["jsonl", "json", "csv", "tsv"])
def test_encodings_are_detected(encoding, written):
    value = "りんごは何色ですか。"
    text = {
        "jsonl": f'{{"質問":"{value}"}}\n',
        "json": f'[{{"質問":"{value}"}}]',
        "csv": f"質問\n{value}\n",
        "tsv": f"質問\n{value}\n",
    }[written]
    assert [row.data for row in rows_of(text.encode(encoding), written)] == [{"質問": value}]


def test_big_endian_utf_16_is_detected_by_its_mark_and_by_its_zeros():
    text = '{"a":"語"}'
    for head in (codecs.BOM_UTF16_BE, b""):
        assert rows_of(head + text.encode("utf-16-be"))[0].data == {"a": "語"}


def test_text_of_western_europe_is_not_taken_for_japanese():
    assert detect_encoding("Où est l'été à Besançon ?".encode("latin-1")) == "utf-8"
    assert detect_encoding("日本語です".encode("cp932")[:5]) == "utf-8"
    assert detect_encoding("日本語です".encode("cp932")[:9]) == "cp932"
    assert detect_encoding("日本語".encode()[:4]) == "utf-8"


@pytest.mark.parametrize(
    ("data", "written", "encoding", "fault"),
    [
        (b'{"a":1}\n{"a":"\xff"}', "jsonl", None, ("line 2, column 7", "0xFF is not valid UTF-8")),
        ("語,b\n語".encode() + b"\xff,1", "csv", None, ("line 2, column 2", "0xFF is not valid")),
        (b"a\n\x83\xff", "csv", "cp932", ("line 2, column 1", "0x83 is not valid CP932")),
        (b"a\n\xe3\x81", "csv", None, ("line 2, column 1", "0xE3 is not valid UTF-8")),
        (b'[{"a":"\x80', "json", None, ("line 1, column 8", "0x80 is not valid")),
        (
            "a\n1\n".encode("utf-16-be") + b"\xd8\0",
            "csv",
            "utf-16-be",
            ("line 3, column 1", "0xD8"),
        ),
        (b"a\nb\0", "csv", "utf-8", ("line 2, column 2", "NUL")),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_bytes_that_are_not_of_the_encoding_are_named(data, written, encoding, fault, size):
    pointer, message = fault
    found, said = fault_of(data, written, encoding=encoding, size=size)
    assert found == pointer
    assert message in said


def test_an_unknown_encoding_is_refused_with_the_known_ones():
    for name in ("latin-1", "no such"):
        with pytest.raises(InvalidInput, match="use one of: utf-8, utf-8-sig, cp932"):
            rows_of(b"a", "csv", encoding=name)
    assert rows_of("質問\n答".encode("cp932"), "csv", encoding="Shift_JIS")[0].data == {
        "質問": "答"
    }


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ('{"a":1,"語":2,"a":3}', 14, "key 'a' stands twice"),
        ('{"a":{"b":1,"b":2}}', 13, "key 'b' stands twice"),
        ('{"a":1,"\\u0061":3}', 8, "key 'a' stands twice"),
        ("[1]", 1, "a row is a JSON object"),
        ('"text"', 1, "a row is a JSON object"),
        ("{}", 1, "no columns"),
        ('{"a":1', 7, "comma or a closing bracket"),
        ("{'a':1}", 2, "double quotes"),
        ('{"a":"x', 6, "never ends"),
        ('{"a":"x\ty"}', 8, "as \\n or \\t"),
        ('{"a":"\\x"}', 7, "backslash"),
        ('{"a":tru}', 6, "a value is expected"),
        ('{"a":1} {"a":2}', 9, "on a line of its own"),
        ('{"a":NaN}', 6, "NaN is not JSON"),
        ('{"a":[1,-Infinity]}', 9, "-Infinity is not JSON"),
        ('{"a":1e999}', 6, "too large for a number"),
        (f'{{"a":{"9" * 5000}}}', 6, "5000 digits"),
        ('{"語":"\\u0000"}', 6, r"NUL (U+0000)"),
        ('{"a\\u0000":1}', 2, r"NUL (U+0000)"),
        ('{"a":"\\ud83d"}', 6, r"surrogate pair (U+D83D)"),
        (f'{{"a":{"[" * 32}{"]" * 32}}}', 37, "deeper than 32"),
        (f'{{"a":{"[" * 100_000}{"]" * 100_000}}}', 37, "deeper than 32"),
    ],
)
def test_a_faulty_json_row_is_named_with_its_mend(line, column, message):
    pointer, said = fault_of(f'{{"ok":1}}\n\n{line}\n{{"ok":2}}'.encode(), size=9999)
    assert pointer == f"line 3, column {column}"
    assert message in said
    pointer, said = fault_of(f'[{{"ok":1}},\n {line}]'.encode(), "json", size=9999)
    assert pointer.startswith("line 2, column ")


def test_a_comma_before_the_closing_brace_is_named():
    """Python 3.13 points at the comma, earlier ones at the brace."""
    pointer, said = fault_of(b'{"a":1,}')
    assert pointer in {"line 1, column 7", "line 1, column 8"}
    assert "comma before the closing brace" in said


def test_text_that_only_looks_faulty_is_kept():
    lines = [
        '{"a":"\\\\u0000"}',
        '{"a":"say \\":\\" twice","b":"\\":"}',
        '{"a\\\\":1,"b":"x\\\\"}',
        '{"a":"😀 \\ud83d\\ude00"}',
        '{"a":{"a":{"a":1}}}',
        f'{{"a":{"[" * 31}{"]" * 31}}}',
    ]
    assert [row.data for row in rows_of("\n".join(lines).encode())] == [
        json.loads(line) for line in lines
    ]


@pytest.mark.parametrize(
    ("text", "pointer", "message"),
    [
        ('{"a":1}', "line 1, column 1", "an array of objects is expected"),
        ('[{"a":1}\n {"a":2}]', "line 2, column 2", "a comma, or the ]"),
        ('[{"a":1}', "line 1, column 9", "a comma, or the ]"),
        ('[{"a":1}]\n]', "line 2, column 1", "the array has ended"),
        ('[{"a":1},\n]', "line 2, column 1", "a value is expected"),
        ('[\n {"a":1},\n {"a":\n  oops}]', "line 4, column 3", "a value is expected"),
        ('[{"a":1},\n 7]', "line 2, column 2", "a row is a JSON object"),
        ("[ ]", "line 1, column 1", "there are no rows"),
        ('[{"a":1},', "line 1, column 10", "a value is expected"),
    ],
)
def test_a_faulty_array_is_named_with_its_mend(text, pointer, message):
    found, said = fault_of(text.encode(), "json")
    assert found == pointer
    assert message in said


@pytest.mark.parametrize(
    ("text", "pointer", "message"),
    [
        ("a,b\n1,2\n3\n", "line 3, column 2", "1 fields where the header has 2: no value for 'b'"),
        ("a,b\n1,2,x,4\n", "line 2, column 3", "'x' is too much"),
        ('a,b\n"1\n\n1",2\n3,4,5\n', "line 5, column 3", "'5' is too much"),
        ("a,b,a\n1,2,3\n", "line 1, column 3", "'a' names 2 columns"),
        ("a, \n1,2\n", "line 1, column 2", "column 2 has no name"),
        ('a,b\n1,"x\ny\n', "line 2, column 2", "does not end"),
        ('a,b\n"q\n",2\n1,"x"y\n', "line 4, column 2", "follows the closing quote"),
        ("a,b\r1,2\r", "line 1, column 1", "save with LF"),
        ("a,b\n", "line 1, column 1", "there are no rows"),
        ("", "line 1, column 1", "there are no rows"),
    ],
)
def test_a_faulty_table_is_named_with_its_mend(text, pointer, message):
    found, said = fault_of(text.encode(), "csv")
    assert found == pointer
    assert message in said


def test_rows_and_columns_are_limited():
    large = b'{"a":"' + b"x" * MAX_ROW_BYTES + b'"}'
    assert "larger than 1,000,000 bytes" in fault_of(b'{"a":1}\n' + large, size=60_000)[1]
    assert "larger" in fault_of(b'[{"a":1},' + large + b"]", "json", size=60_000)[1]
    wide = b"a,b\n" + b'"x",' + b"x" * MAX_ROW_BYTES + b"\n"
    assert fault_of(wide, "csv", size=60_000)[0] == "line 2, column 1"
    table = "a,b\n語,".encode() + "語".encode() * (MAX_ROW_BYTES // 2) + b"\n"
    assert "larger" in fault_of(table, "csv", size=60_000)[1]
    many = json.dumps({f"c{n}": n for n in range(MAX_COLUMNS + 1)}).encode()
    assert "more than 100 different columns" in fault_of(many)[1]
    one_each = b"".join(b'{"c%d":1}\n' % n for n in range(MAX_COLUMNS + 1))
    assert fault_of(one_each) == (
        "line 101, column 1",
        "more than 100 different columns; join some into one",
    )
    assert "101 columns" in fault_of(b",".join([b"c"] * 101) + b"\n", "csv")[1]


def test_an_endless_line_is_refused_without_being_held():
    for written in Format:
        endless = repeat(b'"' + b"x" * 99_999)
        with pytest.raises(InvalidInput):
            list(read_rows(endless, format=written, encoding="utf-8"))


FRAGMENTS = st.lists(
    st.sampled_from(
        [
            *(b'{"a":', b"1", b'"x"', b"}", b",", b"[", b"]", b"\n", b"\r", b'"', b"\\", b"\\u00"),
            *(b" ", b"\t", b"a,b", b'""', b"\xef\xbb\xbf", b"\xff\xfe", b"\x83", b"NaN", b"\0"),
            "語".encode(),
        ]
    )
).map(b"".join)


@pytest.mark.parametrize("written", Format)
@given(
    data=FRAGMENTS | st.binary(),
    encoding=st.sampled_from([None, "utf-8", "cp932", "utf-16"]),
    size=st.integers(1, 9),
)
def test_whatever_is_uploaded_is_read_or_refused(written, data, encoding, size):
    with suppress(InvalidInput):
        for row in rows_of(data, written, encoding=encoding, size=size):
            assert json.loads(row.text) == row.data


def test_rows_before_a_fault_are_yielded_first():
    rows = read_rows(iter([b'{"a":1}\n{"a":']), format=Format.JSONL)
    assert next(rows).data == {"a": 1}
    with pytest.raises(InvalidInput, match="line 2, column 6"):
        next(rows)


@pytest.mark.parametrize("written", ["jsonl", "json", "csv"])
def test_memory_stays_flat(written):
    line = {"jsonl": b'{"a":"%s"}\n', "json": b'{"a":"%s"},\n', "csv": b"%s\n"}[written]
    block = (line % (b"x" * 500)) * 100
    head = {"jsonl": b"", "json": b"[", "csv": b"a\n"}[written]
    end = b'{"a":1}]' if written == "json" else b""

    def chunks() -> Iterator[bytes]:
        yield head
        yield from repeat(block, 100)
        yield end

    tracemalloc.start()
    n_rows = sum(1 for _ in read_rows(chunks(), format=Format(written)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_rows >= 10_000
    assert peak < 2_000_000  # the upload has 5 MB


# --- rows inside a request ----------------------------------------------------------------------


def test_inline_rows_are_the_rows_of_an_upload():
    rows: list[dict[str, object]] = [
        {"id": "x", "質問": "語\n"},
        {"a": [1.5, None], "b": {"c": True}},
    ]
    uploaded = "\n".join(json.dumps(row) for row in rows).encode()
    assert list(inline_rows(rows)) == rows_of(uploaded)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "no columns"),
        ({"a": "\0"}, "NUL"),
        ({"a": "\ud800"}, "surrogate"),
        ({"a": float("nan")}, "not JSON compliant"),
        ({"a": "x" * MAX_ROW_BYTES}, "larger than"),
        ({f"c{n}": n for n in range(101)}, "more than 100"),
    ],
)
def test_a_faulty_inline_row_is_pointed_at(row: dict[str, object], message):
    with pytest.raises(InvalidInput, match=message) as caught:
        list(inline_rows([{"ok": 1}, row]))
    assert caught.value.faults[0].pointer == "/rows/1"


# --- formats ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "content_type", "head", "expected"),
    [
        ("a.CSV", None, b"{", "csv"),
        ("a.tsv", "text/csv", b"a", "tsv"),
        ("a.json", None, b' \n[{"a":1}]', "json"),
        ("a.json", "application/json", b'{"a":1}\n', "jsonl"),
        ("a.jsonl", None, b"oops", "jsonl"),
        (None, "application/x-ndjson", b"oops", "jsonl"),
        (None, "text/csv; charset=utf-8", b"a,b", "csv"),
        (None, None, b"a\tb, c\td\n", "tsv"),
        (None, None, b"a,b\n", "csv"),
        (None, "application/octet-stream", b"\xef\xbb\xbf[{}]", "json"),
        (None, None, '{"a":1}'.encode("utf-16"), "jsonl"),
    ],
)
def test_the_format_is_told_by_name_type_and_content(filename, content_type, head, expected):
    assert sniff(filename, content_type, head) == expected


def test_an_empty_upload_is_refused():
    with pytest.raises(InvalidInput, match="empty"):
        sniff("a.csv", "text/csv", b"\xef\xbb\xbf \n")
