"""A comparison in Python: its columns, a frame of it, and how it prints."""

from html import escape
from io import StringIO
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderResult
from typing_extensions import override

from hikaku_client import frames, tables, text
from hikaku_client.consoles import WIDTH_UNKNOWN
from hikaku_client.wire import Column, ComparisonAnswer
from hikaku_client.words import Words

if TYPE_CHECKING:  # pandas is optional, so its types are too
    from pandas import DataFrame


class Comparison:
    """Endpoints held against a baseline; `print` it, or take `.to_pandas()`."""

    def __init__(self, answer: ComparisonAnswer, words: Words) -> None:
        self.answer = answer
        self._words = words

    @property
    def columns(self) -> list[Column]:
        """One for each endpoint of each job."""
        return self.answer["columns"]

    @property
    def warnings(self) -> list[str]:
        """What to know before trusting it."""
        return [warning["message"] for warning in self.answer["warnings"]]

    def to_pandas(self) -> "DataFrame":
        """One row for each column and scorer."""
        return frames.columns(self.answer)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        yield tables.comparison(self.answer, self._words, width=options.max_width)

    @override
    def __str__(self) -> str:
        out = StringIO()
        Console(file=out, width=WIDTH_UNKNOWN, color_system=None).print(self)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    def _repr_html_(self) -> str:
        names = ("endpoint", "scorer", "mean", "interval", "coverage", "difference", "interval")
        head = "".join(f"<th>{name}</th>" for name in (*names, "p"))
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in _html_row(column, scorer))
            for column in self.columns
            for scorer in column["scores"]
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _html_row(column: Column, scorer: str) -> list[str]:
    estimate = column["scores"][scorer]
    paired = (column["versus_baseline"] or {}).get(scorer)
    return [
        column["endpoint"],
        scorer,
        text.number(estimate["mean"]),
        text.interval(estimate["low"], estimate["high"]),
        text.percent(estimate["coverage"]),
        text.number(paired["difference"], sign=True) if paired else "",
        text.interval(paired["low"], paired["high"], sign=True) if paired else "",
        text.p_value(paired["p_value"]) if paired else "",
    ]
