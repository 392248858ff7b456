from io import StringIO

import pytest
from hikaku_client import tables
from hikaku_client.words import ENGLISH, JAPANESE
from rich.cells import cell_len
from rich.console import Console

from tests.unit.client.fake import comparison, estimate, paired


def drawn(answer, *, width=120, words=ENGLISH) -> str:
    out = StringIO()
    console = Console(file=out, width=width, color_system=None, markup=False, highlight=False)
    console.print(tables.comparison(answer, words, width=width))
    return out.getvalue()


def line_with(text: str, part: str, *, after: str = "") -> str:
    return next(line for line in text[text.index(after) :].splitlines() if part in line)


def test_an_endpoint_shows_what_it_cost_and_how_much_of_it_was_scored():
    line = line_with(drawn(comparison()), "qwen")
    assert "640 ms / 1.32 s" in line
    assert "1,180 / 960" in line
    assert "98.3 %" in line


def test_a_score_shows_its_interval_and_its_difference_with_everything_known():
    line = line_with(drawn(comparison()), "qwen", after="contains")
    for part in ("0.491 [0.37, 0.62]", "59/60", "▲ +0.271 [+0.11, +0.41]", "0.003", "21 / 5 / 33"):
        assert part in line


def test_the_baseline_is_not_held_against_itself():
    line = line_with(drawn(comparison()), "smollm2", after="contains")
    assert line.rstrip().endswith("baseline")


@pytest.mark.parametrize(
    ("low", "high", "p_value", "sign"),
    [
        (0.01, 0.2, 0.03, "▲"),
        (-0.2, -0.01, 0.03, "▼"),
        (-0.1, 0.1, 0.03, "="),
        (0.0, 0.1, 0.03, "="),
        (None, None, 0.03, "="),
        (0.01, 0.2, 0.125, "="),
        (0.01, 0.2, None, "▲"),
    ],
)
def test_a_sign_is_given_only_when_interval_and_test_agree(low, high, p_value, sign):
    answer = comparison()
    answer["columns"][1]["versus_baseline"] = {"contains": paired(0.05, low, high, p_value)}
    assert f"{sign} +0.050" in drawn(answer)


def test_failures_are_shown_and_not_called_zero():
    text = drawn(comparison())
    assert "never counted as 0" in text
    assert "qwen2.5-coder-0.5b-instruct: provider_error 1" in text


def test_a_column_without_a_score_shows_a_dash_and_never_zero():
    answer = comparison()
    answer["columns"][0]["scores"]["contains"] = estimate(None, None, None, 0)
    line = line_with(drawn(answer), "smollm2", after="contains")
    assert "– [–]" in line
    assert "0.000" not in line


def test_warnings_are_shown():
    answer = comparison(warnings=[{"code": "x", "message": "3 rows have no partner"}])
    assert "Careful: 3 rows have no partner" in drawn(answer)


def test_columns_of_several_jobs_name_their_job():
    answer = comparison()
    answer["columns"][1]["job"] = "job_other"
    assert "job_other" in drawn(answer)


def test_without_scorers_it_says_so():
    answer = comparison()
    for column in answer["columns"]:
        column["scores"] = {}
        column["versus_baseline"] = None
    assert "no scorer" in drawn(answer)


@pytest.mark.parametrize("words", [ENGLISH, JAPANESE])
@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(words, width):
    answer = comparison()
    answer["columns"][1]["endpoint"] = "日本語のエンドポイント"
    text = drawn(answer, width=width, words=words)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    if width >= 80:
        assert "…" not in text
        for part in ("0.491 [0.37, 0.62]", "+0.271 [+0.11, +0.41]", "0.003", "21 / 5 / 33"):
            assert part in text


def test_wide_letters_do_not_shift_a_column():
    answer = comparison()
    answer["columns"][1]["endpoint"] = "日本語のエンドポイント"
    text = drawn(answer)
    first = line_with(text, "smollm2", after="contains")
    second = line_with(text, "日本語", after="contains")
    ends = [cell_len(line[: line.index("]")]) for line in (first, second)]
    assert ends[0] == ends[1]


def test_a_name_cannot_command_the_terminal():
    answer = comparison()
    answer["columns"][1]["endpoint"] = "\x1b[31mred[bold]"
    text = drawn(answer)
    assert "\x1b" not in text
    assert "[bold]" in text
