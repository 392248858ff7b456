import re
from dataclasses import fields
from string import Formatter

import pytest
from hikaku_client import text
from hikaku_client.wire import FINAL_STATES
from hikaku_client.words import ENGLISH, JAPANESE, choose


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (text.number(0.12345), "0.123"),
        (text.number(-0.0001, sign=True), "0.000"),
        (text.number(0.0, sign=True), "0.000"),
        (text.number(-0.25, sign=True), "-0.250"),
        (text.number(None), "–"),
        (text.interval(0.1, None), "[–]"),
        (text.p_value(0.0004), "< 0.001"),
        (text.percent(1.0), "100.0 %"),
        (text.percent(0.99999), "> 99.9 %"),
        (text.percent(0.5), "50.0 %"),
        (text.milliseconds(999.4), "999 ms"),
        (text.milliseconds(1320), "1.32 s"),
        (text.seconds(59.4), "59 s"),
        (text.seconds(61), "1 min 01 s"),
        (text.seconds(3_700), "1 h 01 min"),
        (text.count(1119), "1,119"),
        (text.count(None), "–"),
        (text.money("0.012300"), "0.0123"),
        (text.money("0"), "0"),
        (text.size(2048), "2.0 KiB"),
        (text.instant("2026-11-22T17:30:00Z", "Asia/Tokyo"), "2026-11-23 02:30:00 JST"),
    ],
)
def test_figures_are_written_for_people(written, expected):
    assert written == expected


def test_what_a_model_says_cannot_command_the_terminal():
    shown = text.visible("a\x1b[2Jb\x00c\x9bd\u202ee\nf\tg")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", shown)
    assert "\nf\tg" in shown


def test_ordinary_text_of_any_script_is_left_alone():
    said = "りんごは赤色です。👨‍👩‍👧 مرحبا é"
    assert text.visible(said) == said


def test_a_long_answer_is_cut_on_one_line():
    assert text.one_line("あ\nい" * 300, 10) == "あ いあ いあ い…"


PHRASES = [f.name for f in fields(ENGLISH) if isinstance(getattr(ENGLISH, f.name), str)]
TABLES = [f.name for f in fields(ENGLISH) if f.name not in PHRASES]


@pytest.mark.parametrize("name", PHRASES)
def test_both_languages_fill_in_the_same_figures(name):
    phrases = (getattr(words, name) for words in (ENGLISH, JAPANESE))
    first, second = ({field for _, field, _, _ in Formatter().parse(p) if field} for p in phrases)
    assert first == second


@pytest.mark.parametrize("name", TABLES)
def test_both_languages_have_words_for_the_same(name):
    assert getattr(ENGLISH, name).keys() == getattr(JAPANESE, name).keys()


def test_both_languages_know_every_state():
    assert ENGLISH.states.keys() == JAPANESE.states.keys() >= FINAL_STATES


@pytest.mark.parametrize(
    ("asked", "environ", "words"),
    [
        (None, {}, ENGLISH),
        (None, {"LANG": "ja_JP.UTF-8"}, JAPANESE),
        (None, {"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, ENGLISH),
        ("en", {"LANG": "ja_JP.UTF-8"}, ENGLISH),
        ("ja", {}, JAPANESE),
    ],
)
def test_the_language_is_the_one_asked_for_or_the_locales(asked, environ, words):
    assert choose(asked, environ) is words
