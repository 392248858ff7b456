"""Writes `eval_results_table.json`, the table that MLflow's evaluation view compares runs by.

MLflow's own writers escape everything that is not ASCII; this one writes UTF-8 as it is.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hikaku.errors import InvalidInput
from hikaku.specs import Snapshot
from hikaku.storage.results import ReadCell
from hikaku.templates import Template, parse
from workers.tracking.names import distinct

FILE: Final = "eval_results_table.json"

MAX_ROWS = 10_000
"""MLflow's page shows this many in about 4 s, and loads all of them at once."""

MAX_BYTES = 32 * 1024 * 1024

LATENCY, TOTAL_TOKENS = "MLFLOW_latency", "MLFLOW_total_tokens"
"""Columns that MLflow's page shows under each output, in milliseconds and in tokens."""

_OUTCOME = ("outcome", "error")
_USAGE = (LATENCY, TOTAL_TOKENS, "input_tokens", "output_tokens")


def written(messages: Sequence[tuple[str, str]]) -> str:
    """Write messages (role, content) as one text: a single user message as it is."""
    match messages:
        case [("user", content)]:
            return content
        case _:
            return "\n\n".join(f"[{role}]\n{content}" for role, content in messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How much of a column is in its table."""

    rows: int
    """Cells in the table."""
    cells: int
    """Cells there are."""


class Table:
    """The table of one column, written cell by cell; what does not fit is counted."""

    def __init__(self, path: Path, snapshot: Snapshot, *, max_rows: int = MAX_ROWS) -> None:
        self._file = path.open("wb")
        self._template = _template(snapshot)
        self._is_repeated = snapshot.repeats > 1
        self._variables = _shown(snapshot)
        self._scorers = len(snapshot.scorers)
        self._max_rows = max_rows
        self._is_full = False
        self._rows = self._cells = 0
        self._begin(_columns(snapshot, self._variables))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._file.write(b"\n]}\n")
        self._file.close()

    @property
    def extent(self) -> Extent:
        """How much was written so far."""
        return Extent(rows=self._rows, cells=self._cells)

    def add(self, cell: ReadCell) -> None:
        """Write a cell, as long as there is room."""
        self._cells += 1
        if self._is_full:
            return
        line = _json(self._values(cell)).encode()
        if self._rows == self._max_rows or self._file.tell() + len(line) > MAX_BYTES:
            self._is_full = True
            return
        self._file.write((b",\n" if self._rows else b"\n") + line)
        self._rows += 1

    def _begin(self, columns: Sequence[str]) -> None:
        self._file.write(f'{{"columns":{_json(columns)},"data":['.encode())

    def _values(self, cell: ReadCell) -> list[object]:
        scores = {score.scorer: score.value for score in cell.scores}
        tokens = (cell.input_tokens, cell.output_tokens)
        total = None if None in tokens else sum(n for n in tokens if n is not None)
        return [
            *(_shown_value(cell.variables.get(name)) for name in self._variables),
            _prompt(self._template, cell),
            cell.completion,
            *(scores.get(position) for position in range(self._scorers)),
            cell.outcome.value,
            cell.error,
            cell.row_key,
            *([cell.key.repeat] if self._is_repeated else []),
            cell.latency_ms,
            total,
            *tokens,
        ]


def _template(snapshot: Snapshot) -> Template:
    return parse([(message.role, message.content) for message in snapshot.prompt.messages])


def _shown(snapshot: Snapshot) -> tuple[str, ...]:
    targets = [scorer.target for scorer in snapshot.scorers if scorer.target is not None]
    return tuple(dict.fromkeys([*snapshot.prompt.variables, *targets]))


def _columns(snapshot: Snapshot, variables: Sequence[str]) -> list[str]:
    ours = [
        "prompt",
        "output",
        *distinct(f"{scorer.name}/score" for scorer in snapshot.scorers),
        *_OUTCOME,
        "row",
        *(["repeat"] if snapshot.repeats > 1 else []),
        *_USAGE,
    ]
    # The page finds `prompt` and `output` by name: a variable of that name makes way.
    theirs = [f"{name} (variable)" if name in ours else name for name in variables]
    return theirs + ours


def _prompt(template: Template, cell: ReadCell) -> str | None:
    try:
        messages = template.render(cell.variables, row=cell.key.row)
    except InvalidInput:  # the cell says so itself, in `error`
        return None
    return written([(message.role, message.content) for message in messages])


def _shown_value(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else _json(value)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
