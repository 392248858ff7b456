import json
import re
import time
from contextlib import suppress
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikaku.errors import InvalidInput, UnknownName
from hikaku.scoring import REGISTRY, build
from hikaku.scoring.normalisation import Step, normalised
from hikaku.scoring.patterns import unicode_aware

EXAMPLES: dict[str, dict[str, object]] = {
    "exact_match": {},
    "contains": {"require": "all"},
    "regex": {"pattern": r"答え:\s*(\w+)", "compare": True},
    "numeric": {"abs_tolerance": 0.5},
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)

each_scorer = pytest.mark.parametrize("name", REGISTRY)


def value(name: str, completion: str, target: object, **options: object) -> float | None:
    return build(name, options).score(completion, target).value


# --- what holds for every scorer ----------------------------------------------------------------


def test_every_scorer_has_an_example_here():
    assert set(EXAMPLES) == set(REGISTRY)


@each_scorer
@given(completion=TEXTS, target=JSON_VALUES)
def test_a_verdict_is_a_value_from_0_to_1_or_a_reason_why_there_is_none(name, completion, target):
    scorer = build(name, EXAMPLES[name])
    verdict = scorer.score(completion, target)
    assert (verdict.value is None) == (verdict.unscored is not None)
    assert verdict.value is None or 0 <= verdict.value <= 1
    assert verdict.detail is None or len(verdict.detail) <= 1000
    assert scorer.score(completion, target) == verdict


@each_scorer
@pytest.mark.parametrize("target", [None, [], [None], {"a": 1}, [[1]]])
def test_a_row_without_a_usable_answer_gets_no_score_and_never_zero(name, target):
    verdict = build(name, EXAMPLES[name]).score("42", target)
    assert verdict.value is None
    assert verdict.unscored


@each_scorer
def test_a_scorer_is_made_again_from_its_own_options(name):
    scorer = build(name, EXAMPLES[name])
    assert build(name, json.loads(json.dumps(scorer.options))) == scorer
    assert (scorer.type, scorer.version) == (name, 1)
    assert EXAMPLES[name].keys() <= scorer.options.keys()
    assert REGISTRY[name].model_json_schema()["properties"].keys() == scorer.options.keys()


@each_scorer
def test_an_unknown_option_is_refused_with_the_known_ones(name):
    with pytest.raises(InvalidInput, match="has no option 'normalise'; ") as caught:
        build(name, {**EXAMPLES[name], "normalise": ["nfkc"]})
    assert [fault.pointer for fault in caught.value.faults] == ["/normalise"]


def test_an_unknown_scorer_is_refused_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'exact_match'") as caught:
        build("Exact-Match", {})
    assert caught.value.faults[0].pointer == "/type"
    with pytest.raises(UnknownName, match="there are: exact_match, contains, regex, numeric"):
        build("bleu", {})


@pytest.mark.parametrize(
    ("name", "options", "pointer", "message"),
    [
        ("exact_match", {"normalize": ["nfkc", "lower"]}, "/normalize/1", "casefold"),
        ("contains", {"": 1}, "/", "has no option ''"),
        ("contains", {"require": "some"}, "/require", "'any' or 'all'"),
        ("numeric", {"abs_tolerance": "1"}, "/abs_tolerance", "valid number"),
        ("numeric", {"rel_tolerance": True}, "/rel_tolerance", "valid number"),
        ("regex", {"pattern": "a", "compare": 1}, "/compare", "valid boolean"),
        ("regex", {"pattern": "(a)", "group": True}, "/group", "valid integer"),
        ("numeric", {"abs_tolerance": -1}, "/abs_tolerance", "greater than or equal to 0"),
        ("numeric", {"rel_tolerance": float("inf")}, "/rel_tolerance", "finite"),
        ("regex", {}, "/pattern", "required"),
        ("regex", {"pattern": "(a"}, "/pattern", "RE2 cannot read the pattern: missing )"),
        ("regex", {"pattern": "a(?=b)"}, "/pattern", "neither lookaround nor backreferences"),
        ("regex", {"pattern": r"(a)\1"}, "/pattern", "neither lookaround nor backreferences"),
        ("regex", {"pattern": r"\b語\b"}, "/pattern", "knows only ASCII in RE2"),
        ("regex", {"pattern": r"[^\W\d]"}, "/pattern", r"\W inside [...]"),
        ("regex", {"pattern": "a" * 5001}, "/pattern", "longer than 5,000"),
        ("regex", {"pattern": "(a)", "group": 2}, "/pattern", "no group 2: there are 1"),
        ("regex", {"pattern": "(?P<x>a)", "group": "y"}, "/pattern", "no group 'y'"),
    ],
)
def test_a_bad_option_is_refused_with_its_place(name, options, pointer, message):
    with pytest.raises(InvalidInput, match=re.escape(message)) as caught:
        build(name, options)
    assert caught.value.faults[0].pointer == pointer


# --- normalisation ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "text", "expected"),
    [
        ([Step.NFKC], "Ａ１　ｶﾞ か\u3099①㌔", "A1 ガ が1キロ"),
        ([Step.CASEFOLD], "Straße ÄB", "strasse äb"),
        ([Step.STRIP], " \u3000\t語 x\n", "語 x"),
        ([Step.COLLAPSE_SPACES], "a \n\u3000b", "a b"),
        ([Step.PUNCTUATION], "「はい」。 it's 1.5!", "はい its 15"),
        ([Step.ARTICLES, Step.COLLAPSE_SPACES, Step.STRIP], "The cat and a hat", "cat and hat"),
        ([Step.STRIP, Step.NFKC], "\u3000a", "a"),
        ([], " Ａ ", " Ａ "),
    ],
)
def test_each_step_makes_one_thing_equal(steps, text, expected):
    assert normalised(text, steps) == expected


@given(TEXTS, st.sampled_from(Step))
def test_taking_a_step_twice_is_taking_it_once(text, step):
    once = normalised(text, [step])
    assert normalised(once, [step]) == once


# --- exact match and contains -------------------------------------------------------------------


def test_exact_match_forgives_width_and_outer_blanks_and_nothing_else():
    assert value("exact_match", "　マザーボード\n", "マザーボード") == 1
    assert value("exact_match", "ﾏｻﾞｰﾎﾞｰﾄﾞ", "マザーボード") == 1
    assert value("exact_match", "マザーボードです", "マザーボード") == 0
    assert value("exact_match", "Yes", "yes") == 0
    assert value("exact_match", "Yes.", "yes", normalize=["casefold", "punctuation"]) == 1
    assert value("exact_match", " a", "a", normalize=[]) == 0


def test_exact_match_takes_numbers_and_lists():
    assert value("exact_match", "2", 2) == 1
    assert value("exact_match", "２", 2) == 1
    assert value("exact_match", "true", target=True) == 1
    assert value("exact_match", "赤い", ["赤", "赤い"]) == 1
    assert value("exact_match", "青", ["赤", None]) == 0
    assert value("exact_match", "", "") == 1


@given(TEXTS)
def test_every_text_matches_itself(text):
    assert value("exact_match", text, text) == 1


def test_contains_needs_one_or_all():
    assert value("contains", "それは赤色です。", "赤") == 1
    assert value("contains", "それは赤色です。", "青") == 0
    assert value("contains", "赤と青", ["青", "緑"]) == 1
    verdict = build("contains", {"require": "all"}).score("赤と青", ["青", "緑", "黄"])
    assert (verdict.value, verdict.detail) == (0, "missing: 緑, 黄")
    assert value("contains", "RED", "red", normalize=["casefold"]) == 1


def test_an_empty_answer_is_not_contained_everywhere():
    assert value("contains", "anything", " ") is None


# --- regex --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"\w+", "！評価 ok", "評価"),
        (r"\w+", "か\u3099ぎ!", "か\u3099ぎ"),
        (r"\d+", "答えは４２", "４２"),
        (r"[\d.]+", "約３.５倍", "３.５"),
        (r"[^\w]+", "語!?語", "!?"),
        (r"\W+", "語!?語", "!?"),
        (r"\D+", "1語２", "語"),
        (r"[\D]+", "1語２", "語"),
        (r"a\sb", "a\u3000b", "a\u3000b"),
        (r"\S+", "\u3000語\u3000", "語"),
        (r"[\s\S]+", "語\n語", "語\n語"),
        (r"x[\w\W]y", "x\ny", "x\ny"),
        (r"[]\d]+", "]５", "]５"),
        (r"[^]\d]+", "]５語", "語"),
        (r"[[:alpha:]\d]+", "語a５", "a５"),
        (r"\Q\w\E\w", r"\w語", r"\w語"),
        (r"\Q\w", r"語\w", r"\w"),
        (r"\\w", r"語\w", r"\w"),
        (r"[\\w]+", r"語\w", r"\w"),
        (r"\p{Han}+", "ab評価", "評価"),
        (r"(?i)ans", "ANS", "ANS"),
        (r"[\]\d]", "]", "]"),
    ],
)
def test_patterns_know_more_than_ascii(pattern, text, found):
    verdict = build("regex", {"pattern": pattern}).score(text, None)
    assert (verdict.value, verdict.detail) == (1, found)


def test_ascii_patterns_are_left_to_re2():
    assert value("regex", "評価", None, pattern=r"\w", ascii=True) == 0
    assert value("regex", "is cat.", None, pattern=r"\bcat\b", ascii=True) == 1
    assert value("regex", "!", None, pattern=r"[\W]", ascii=True) == 1


@given(st.text(st.sampled_from(r"ab\wdsWDSQE[]^-(){}*+?.|語1"), max_size=12))
def test_a_translated_pattern_finds_in_ascii_text_what_the_pattern_finds(pattern):
    text = "ab 1_-\\w[]^ Q\tE."
    try:
        plain = build("regex", {"pattern": pattern, "ascii": True})
        translated = build("regex", {"pattern": pattern})
    except InvalidInput:
        return
    assert plain.score(text, None) == translated.score(text, None)


@given(st.text(max_size=8))
def test_any_text_is_a_pattern_or_refused_as_one(pattern):
    with suppress(InvalidInput):
        verdict = build("regex", {"pattern": pattern}).score("語 a1\n", None)
        assert verdict.value in {0, 1}


def test_a_bracket_that_is_never_closed_is_still_refused():
    for pattern in ("[", "[^", "[\\", "[]", "a\\", "[[:alpha:"):
        with pytest.raises(InvalidInput):
            build("regex", {"pattern": pattern})
    assert unicode_aware("a[") == "a["


def test_without_compare_a_find_is_enough_and_no_answer_is_needed():
    assert value("regex", "答え: 赤", None, pattern="答え:") == 1
    assert value("regex", "さあ", "答え", pattern="答え:") == 0
    assert build("regex", {"pattern": "x"}).needs_target is False
    assert build("regex", {"pattern": "x", "compare": True}).needs_target is True


def test_compare_holds_what_was_found_against_the_answer():
    options = {"pattern": r"答え[:：]\s*(\S+)", "compare": True}
    scorer = build("regex", options)
    assert scorer.score("考えると…答え： Ａ", ["a", "A"]).value == 1
    assert scorer.score("答え: B", "A").detail == "B"
    missing = scorer.score("わかりません", "A")
    assert (missing.value, missing.detail) == (0, "the pattern finds nothing")
    last = build("regex", {**options, "which": "last"})
    assert last.score("答え: B\n答え: A", "A").value == 1
    named = build("regex", {"pattern": r"(x)(?P<n>\d)?", "compare": True, "group": "n"})
    assert named.score("x7", 7).value == 1
    assert named.score("x", "").value == 1
    whole = build("regex", {"pattern": r"(x)\d", "compare": True, "group": 0})
    assert whole.score("x7", "x7").value == 1


@pytest.mark.parametrize(
    "pattern",
    [r"(a+)+$", r"^(\w+\s?)*$", r"(x+x+)+y", r"(a|aa)+$", r"(.*)(.*)(.*)(.*)[^a]$", r"(a?){500}b"],
)
def test_no_pattern_takes_long(pattern):
    scorer = build("regex", {"pattern": pattern, "which": "last"})
    began = time.process_time()
    scorer.score("a" * 10_000 + "!", None)
    assert time.process_time() - began < 0.5


# --- numeric ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("completion", "target", "expected"),
    [
        ("1,234.5", 1234.5, 1),
        ("１，２３４．５円です", "1234.5", 1),
        ("She paid $1,000,000.", 1000000, 1),
        ("-3", -3, 1),
        ("−3", -3, 1),
        ("－３", -3, 1),
        ("-$5", -5, 1),
        ("$-5", -5, 1),
        ("3-5", 5, 1),
        ("答えは-5です", -5, 1),
        ("合計は－12", -12, 1),
        ("第3-5章", 5, 1),
        ("48 - 5 = 43", 43, 1),
        ("x=-4", -4, 1),
        ("GPT-4", 4, 1),
        ("+7", 7, 1),
        ("50%", 50, 1),
        ("５０％", "50 %", 1),
        (".5", 0.5, 1),
        ("The answer is 72.", 72, 1),
        ("72.0", 72, 1),
        ("1e3", 1000, 1),
        ("2.5E-2", 0.025, 1),
        ("first 10, then 20", 20, 1),
        ("first 10, then 20", 10, 0),
        ("1,2,3", 3, 1),
        ("1,234,5", 5, 1),
        ("12,34", 34, 1),
        ("5 is 48/2 = <<48/2=24>>24\n#### 72\nHave 3 nice days", 72, 1),
        ("#### none, so 8", 8, 1),
        ("12万円", 120000, 1),
        ("3万5千", 35000, 1),
        ("1億2000万人", 120000000, 1),
        ("2千万", 20000000, 1),
        ("-3万5千", -35000, 1),
        ("1万2345", 12345, 1),
        ("5千、3万", 30000, 1),
        ("約１００㎡", 100, 1),
        ("12 m²", 12, 1),
        ("答え: ③", 3, 1),
        ("0.1", 0.1, 1),
        ("12345678901234567890123", "12345678901234567890124", 0),
        ("十二", 12, 0),
        ("", 0, 0),
        ("5", ["4", 5], 1),
    ],
)
def test_numbers_are_read_as_people_write_them(completion, target, expected):
    assert value("numeric", completion, target) == expected


def test_the_answer_of_gsm8k_is_the_number_after_its_mark():
    target = "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n#### 72"
    assert value("numeric", "48 + 24 = 72", target) == 1


def test_tolerance_is_absolute_or_in_parts_of_the_expected_number():
    assert value("numeric", "3.14", 3.14159) == 0
    assert value("numeric", "3.14", 3.14159, abs_tolerance=0.01) == 1
    assert value("numeric", "99", 100, rel_tolerance=0.01) == 1
    assert value("numeric", "98.9", 100, rel_tolerance=0.01) == 0
    assert value("numeric", "0.3", 0.1, abs_tolerance=0.2) == 1


def test_options_choose_the_number_and_the_reading_of_percent():
    assert value("numeric", "10, then 20", 10, which="first") == 1
    assert value("numeric", "50 %", 0.5, percent="fraction") == 1
    assert value("numeric", "0.5", "50%", percent="fraction") == 1
    assert value("numeric", "50", "50%", percent="fraction") == 0


def test_no_number_is_wrong_in_a_completion_and_no_verdict_in_an_answer():
    verdict = build("numeric", {}).score("I do not know", 5)
    assert (verdict.value, verdict.detail) == (0, "no number found")
    verdict = build("numeric", {}).score("5", "five")
    assert verdict.value is None
    assert "holds no number: 'five'" in str(verdict.unscored)
    assert value("numeric", "1", target=True) is None


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12))
def test_a_number_written_with_thousands_separators_is_read_back(number):
    number = Decimal(f"{number:.6f}")
    assert value("numeric", f"その値は {number:,} です。", f"{number}") == 1


@pytest.mark.parametrize(
    "hostile", ["111," * 50_000 + "11", "9" * 200_000, "1e999" * 40_000, "-" * 200_000]
)
def test_hostile_completions_are_judged_quickly(hostile):
    scorer = build("numeric", {"rel_tolerance": 0.1})
    began = time.process_time()
    scorer.score(hostile, 5)
    assert time.process_time() - began < 2
