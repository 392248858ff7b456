import csv
import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.cell_view import cell_key
from api.money_view import money
from api.pace import Pace, pace
from api.routes.export import guarded
from api.streams import attachment, joined
from api.uploads import opened
from hikaku.errors import InvalidInput

START = datetime(2031, 4, 1, tzinfo=UTC)


def at(seconds, *, done=40, pending=80, is_final=False):
    until = START + timedelta(seconds=seconds)
    return pace(done=done, pending=pending, started_at=START, until=until, is_final=is_final)


def test_the_rate_is_the_mean_and_the_estimate_follows():
    assert at(20) == Pace(rate_per_second=2.0, eta_seconds=40.0)


def test_nothing_is_said_before_there_is_something_to_say():
    assert at(20, done=0) == Pace()
    assert at(0.5) == Pace()
    assert pace(done=1, pending=1, started_at=None, until=START, is_final=False) == Pace()


def test_a_job_that_ended_has_its_rate_and_no_estimate():
    assert at(60, done=120, pending=0, is_final=True) == Pace(rate_per_second=2.0)
    assert at(0, done=1, pending=0, is_final=True) == Pace()


@pytest.mark.parametrize(
    ("amount", "written"),
    [("0.0123000000", "0.0123"), ("1E-7", "0.0000001"), ("100", "100"), ("0", "0")],
)
def test_money_is_written_plainly(amount, written):
    assert money(Decimal(amount)) == written


FORMULAS = ["=1+1", "+SUM(A1)", "-2+3", "@A1", "\t=1", "\r=1", "＝1", "＋1", "－x", "＠x"]


@pytest.mark.parametrize("value", FORMULAS)
def test_a_formula_is_not_run(value):
    assert guarded(value) == "'" + value


@pytest.mark.parametrize("value", ["-1", "+2.5", "-1e-5", "りんご", "a=b", "", "１"])
def test_numbers_and_words_stay(value):
    assert guarded(value) == value


@given(st.text())
def test_no_cell_of_a_guarded_table_begins_like_a_formula(value):
    written = io.StringIO()
    csv.writer(written, quoting=csv.QUOTE_ALL).writerow([guarded(value)])
    (read,), *_ = list(csv.reader(io.StringIO(written.getvalue(), newline=""))) or [[""]]
    assert read[:1] not in set("=@\t\r＝＋－＠")


@given(st.lists(st.binary(max_size=50_000), max_size=20))
def test_joining_keeps_every_byte_in_order(pieces):
    assert b"".join(joined(pieces)) == b"".join(pieces)


def test_a_file_name_is_kept_in_any_script_and_can_break_no_header():
    header = attachment('色"\r\nX: y;.jsonl')
    assert header.isascii()
    assert "\r" not in header
    assert "\n" not in header
    assert header.count('"') == 2
    assert "filename*=UTF-8''%E8%89%B2%22%0D%0AX%3A%20y%3B.jsonl" in header


@pytest.mark.parametrize("text", ["0.12.0", "32767.2147483647.32767", "0.0.0"])
def test_the_id_of_a_cell_is_read_back(text):
    assert ".".join(map(str, cell_key(text))) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.2",
        "1.2.3.4",
        "-1.0.0",
        "a.b.c",
        "32768.0.0",
        "0.2147483648.0",
        "١.0.0",
        "1" * 5000 + ".0.0",
    ],
)
def test_what_is_none_is_refused(text):
    with pytest.raises(InvalidInput):
        cell_key(text)


CONTENT = '{"質問": "--境界\r\n"}\n'.encode() * 3
FORM = (
    b'--XX\r\nContent-Disposition: form-data; name="file"; filename="\xe8\x89\xb2.jsonl"\r\n'
    b"Content-Type: application/x-ndjson\r\n\r\n" + CONTENT + b"\r\n--XX--\r\n"
)  # fmt: skip
KIND = "multipart/form-data; boundary=XX"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 61, 1000])
def test_the_file_of_a_form_is_the_same_however_the_network_cuts_it(size):
    pieces = (FORM[i : i + size] for i in range(0, len(FORM), size))
    file = opened(pieces, KIND)
    assert (file.name, file.content_type) == ("色.jsonl", "application/x-ndjson")
    assert b"".join(file.chunks) == CONTENT


def test_a_bare_body_is_the_file():
    file = opened(iter([b"a,b\n", b"1,2\n"]), "text/csv")
    assert (file.name, file.content_type, file.first) == (None, "text/csv", b"a,b\n")
    assert b"".join(file.chunks) == b"a,b\n1,2\n"


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (FORM[:-6], KIND, "ends before"),
        (FORM, "multipart/form-data", "no boundary"),
        (b"garbage", KIND, "broken"),
        (b"--XX--\r\n", KIND, "no file"),
        (
            b'--XX\r\nContent-Disposition: form-data; name="format"\r\n\r\ncsv\r\n--XX--\r\n',
            KIND,
            "'format'",
        ),
        (FORM[:-8] + FORM, KIND, "more than one file"),
    ],
)
def test_a_form_that_is_not_one_file_is_refused(body, kind, words):
    with pytest.raises(InvalidInput, match=words):
        list(opened(iter([body]), kind).chunks)
