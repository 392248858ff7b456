"""Answers as pandas frames; the only place that knows pandas."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hikaku_client.errors import MissingExtra
from hikaku_client.wire import CellAnswer, Column, ComparisonAnswer

if TYPE_CHECKING:  # pandas is optional, so its types are too
    from pandas import DataFrame

_COUNTS = ("input_tokens", "output_tokens", "attempts")
_NUMBERS = ("latency_ms",)
_FIXED = ("outcome", "completion", "finish_reason", "error", "reused", *_COUNTS, *_NUMBERS)


def cells(answers: Iterable[CellAnswer]) -> "DataFrame":
    """Lay cells out as rows of a frame, in the order they come.

    Columns: `row`, `row_key`, `endpoint`, `repeat`, what became of it, `cost_usd` (Decimal as
    text), then `input.NAME` for each variable and `score.NAME` for each scorer (NaN when it has
    no score; `unscored.NAME` says why).
    """
    return _frame([_cell(answer) for answer in answers])


def columns(answer: ComparisonAnswer) -> "DataFrame":
    """Lay a comparison out, one row for each column and scorer."""
    records = [
        {**_column(column), "scorer": name, **estimate, **_paired(column, name)}
        for column in answer["columns"]
        for name, estimate in column["scores"].items()
    ]
    return _frame(records)


def _frame(records: list[dict[str, object]]) -> "DataFrame":
    try:
        import pandas as pd  # noqa: PLC0415 - optional, and slow to load
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "this needs pandas: pip install 'hikaku-client[pandas]'"
            " (cells() and export() work without)"
        ) from error
    frame = pd.DataFrame.from_records(records)
    for name in _COUNTS:
        if name in frame:
            frame[name] = frame[name].astype("Int64")
    for name in frame.columns:
        if name in _NUMBERS or name.startswith("score."):
            frame[name] = frame[name].astype("float64")
    return frame


def _cell(answer: CellAnswer) -> dict[str, object]:
    record: dict[str, object] = {
        "row": answer["row"],
        "row_key": answer.get("row_key"),
        "endpoint": answer["endpoint"],
        "repeat": answer["repeat"],
    }
    record |= {name: answer.get(name) for name in _FIXED}
    record["cost_usd"] = answer.get("cost_usd")
    record |= {f"input.{name}": value for name, value in answer.get("variables", {}).items()}
    for name, score in answer.get("scores", {}).items():
        record[f"score.{name}"] = score["value"]
        record[f"unscored.{name}"] = score.get("unscored")
    return record


def _column(column: Column) -> dict[str, object]:
    return {
        "job": column["job"],
        "endpoint": column["endpoint"],
        "latency_ms.p50": column["latency_ms"]["p50"],
        "latency_ms.p95": column["latency_ms"]["p95"],
        "input_tokens": column["tokens"]["input"],
        "output_tokens": column["tokens"]["output"],
        "cost_usd": column.get("cost_usd"),
    }


def _paired(column: Column, scorer: str) -> dict[str, object]:
    paired = (column["versus_baseline"] or {}).get(scorer)
    return {f"versus_baseline.{name}": value for name, value in (paired or {}).items()}
