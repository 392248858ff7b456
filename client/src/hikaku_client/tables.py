"""A comparison as people read it in a terminal."""

from collections.abc import Iterator

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hikaku_client import text
from hikaku_client.wire import UNANSWERED_OUTCOMES, Column, ComparisonAnswer, Estimate, Paired
from hikaku_client.words import Words

_FIGURES = 81
"""Columns that a score table needs beside its names; below, p and W/L/T go on a second line."""


def comparison(answer: ComparisonAnswer, words: Words, *, width: int) -> RenderableType:
    """Draw a comparison: one table of columns, one per scorer, what is missing, what it means."""
    labels = _labels(answer)
    parts: list[RenderableType] = [_spaced(_overview(answer, labels, words))]
    scorers = dict.fromkeys(name for column in answer["columns"] for name in column["scores"])
    longest = max((cell_len(line) for label in labels for line in label.split("\n")), default=0)
    stacked = longest + _FIGURES > width
    parts += [_spaced(_scores(answer, name, labels, words, stacked=stacked)) for name in scorers]
    if scorers:
        parts.append(Padding(Text(words.legend, style="dim"), (0, 0, 1, 1)))
    else:
        parts.append(Padding(Text(words.nothing_scored, style="yellow"), (0, 0, 1, 1)))
    parts += _missing(answer, labels, words)
    parts += _warnings(answer, words)
    return Group(*parts)


def _spaced(table: Table) -> Padding:
    return Padding(table, (0, 0, 1, 0))


def _table(title: str, *headers: str) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        title=Text(title, style="bold"),
        title_justify="left",
        header_style="dim",
        show_edge=False,
    )
    for position, header in enumerate(headers):
        first = position == 0
        table.add_column(
            header,
            justify="left" if first else "right",
            overflow="fold" if first else "ellipsis",
            no_wrap=not first,
            ratio=None,
        )
    return table


def _labels(answer: ComparisonAnswer) -> list[str]:
    """Name the columns: by endpoint, and by job where several are compared."""
    jobs = dict.fromkeys(column["job"] for column in answer["columns"])
    if len(jobs) == 1:
        return [text.visible(column["endpoint"]) for column in answer["columns"]]
    return [text.visible(f"{column['endpoint']}\n{column['job']}") for column in answer["columns"]]


def _overview(answer: ComparisonAnswer, labels: list[str], words: Words) -> Table:
    headers = [words.endpoint, words.cells, words.coverage, words.latency, words.tokens_in_out]
    shows_cost = any(column.get("cost_usd") is not None for column in answer["columns"])
    table = _table(words.comparison, *headers, *([words.cost] if shows_cost else []))
    for column, label in zip(answer["columns"], labels, strict=True):
        latency, tokens = column["latency_ms"], column["tokens"]
        cells: list[RenderableType] = [
            _name(label, answer, column, words),
            Text(text.count(column["cells"])),
            _coverage(column),
            Text(f"{text.milliseconds(latency['p50'])} / {text.milliseconds(latency['p95'])}"),
            Text(f"{text.count(tokens['input'])} / {text.count(tokens['output'])}"),
        ]
        table.add_row(*cells, *([Text(text.money(column.get("cost_usd")))] if shows_cost else []))
    return table


def _name(label: str, answer: ComparisonAnswer, column: Column, words: Words) -> Text:
    name = Text(label)
    if _is_baseline(answer, column):
        name.append(f"  {words.baseline}", style="dim")
    return name


def _is_baseline(answer: ComparisonAnswer, column: Column) -> bool:
    baseline = answer["baseline"]
    return (baseline["job"], baseline["endpoint"]) == (column["job"], column["endpoint"])


def _coverage(column: Column) -> Text:
    """The smallest share that any scorer could judge; of answered cells without scorers."""
    shares = [estimate["coverage"] for estimate in column["scores"].values()]
    if not shares and column["cells"]:
        answered = column["outcomes"].get("ok", 0) + column["outcomes"].get("truncated", 0)
        shares = [answered / column["cells"]]
    lowest = min(shares, default=None)
    return Text(text.percent(lowest), style="" if lowest is None or lowest >= 1 else "bold yellow")


def _scores(
    answer: ComparisonAnswer, scorer: str, labels: list[str], words: Words, *, stacked: bool
) -> Table:
    confidence = f"{answer['confidence'] * 100:g} %"
    headers = [words.endpoint, words.mean, words.scored, words.difference]
    headers += [] if stacked else [words.p_value, words.record]
    table = _table(text.visible(scorer), *(line.format(confidence=confidence) for line in headers))
    for column, label in zip(answer["columns"], labels, strict=True):
        paired = (column["versus_baseline"] or {}).get(scorer)
        versus = _versus(
            paired,
            words,
            is_baseline=_is_baseline(answer, column),
            confidence=answer["confidence"],
        )
        table.add_row(
            Text(label),
            *_mean(column["scores"].get(scorer), column),
            *([_stacked(versus)] if stacked else versus),
        )
    return table


def _mean(estimate: Estimate | None, column: Column) -> tuple[Text, Text]:
    if estimate is None:
        return Text(text.UNKNOWN), Text(f"0/{column['cells']:,}", style="bold yellow")
    mean = Text(text.number(estimate["mean"]), style="bold")
    mean.append(f" {text.interval(estimate['low'], estimate['high'])}", style="not bold")
    scored = round(estimate["coverage"] * column["cells"])
    all_there = scored == column["cells"]
    share = Text(f"{scored:,}/{column['cells']:,}", style="" if all_there else "bold yellow")
    return mean, share


def _versus(
    paired: Paired | None, words: Words, *, is_baseline: bool, confidence: float
) -> list[Text]:
    """Difference, p value and rows won, lost and tied."""
    if is_baseline:
        return [Text(words.baseline, style="dim"), Text(), Text()]
    if paired is None or paired["difference"] is None:
        return [Text(text.UNKNOWN), Text(), Text()]
    sign, style = _verdict(paired, confidence)
    difference = Text(f"{sign} {text.number(paired['difference'], sign=True)}", style=style)
    ends = text.interval(paired["low"], paired["high"], sign=True)
    return [
        difference.append(f" {ends}", style="not bold"),
        Text(text.p_value(paired["p_value"])),
        Text(f"{paired['wins']:,} / {paired['losses']:,} / {paired['ties']:,}"),
    ]


def _stacked(versus: list[Text]) -> Text:
    difference, p_value, record = versus
    return Text.assemble(difference, "\np ", p_value, ", ", record) if record else difference


def _verdict(paired: Paired, confidence: float) -> tuple[str, str]:
    """Better or worse only when interval and test both say so: on few rows they may disagree."""
    low, high, p_value = paired["low"], paired["high"], paired["p_value"]
    if p_value is None or p_value < 1 - confidence:
        if low is not None and low > 0:
            return "▲", "bold green"
        if high is not None and high < 0:
            return "▼", "bold red"
    return "=", "bold"


def _missing(answer: ComparisonAnswer, labels: list[str], words: Words) -> Iterator[RenderableType]:
    lines = []
    for column, label in zip(answer["columns"], labels, strict=True):
        kinds = {name: column["outcomes"].get(name, 0) for name in UNANSWERED_OUTCOMES}
        named = ", ".join(f"{name} {n:,}" for name, n in kinds.items() if n)
        if named:
            lines.append(f"  {label.replace(chr(10), ' ')}: {named}")
    if lines:
        message = "\n".join([words.not_answered, *lines])
        yield Padding(Text(message, style="yellow"), (0, 0, 1, 1))


def _warnings(answer: ComparisonAnswer, words: Words) -> Iterator[RenderableType]:
    for warning in answer["warnings"]:
        message = f"{words.warning} {text.visible(warning['message'])}"
        yield Padding(Text(message, style="bold yellow"), (0, 0, 1, 1))
