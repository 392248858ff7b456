"""Writes `eval_results_table.json`, the table that MLflow's evaluation view compares runs by.

MLflow's own writers escape everything that is not ASCII; this one writes UTF-8 as it is.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

from hikaku.errors import InvalidInput
from hikaku.specs import Snapshot
from hikaku.storage.results import ReadCell
from hikaku.templates import Template
from workers.requests import template_of
from workers.tracking.names import distinct
from workers.tracking.prompt import written

FILE: Final = "eval_results_table.json"

MAX_ROWS = 10_000
"""MLflow's page shows this many in about 4 s, and loads all of them at once."""

MAX_BYTES = 32 * 1024 * 1024

LATENCY, TOTAL_TOKENS = "MLFLOW_latency", "MLFLOW_total_tokens"
"""Columns that MLflow's page shows under each output, in milliseconds and in tokens."""

Read = Callable[[ReadCell], object]
"""How a column takes its value from a cell."""


def write_table(
    path: Path,
    snapshot: Snapshot,
    cells: Iterable[ReadCell],
    *,
    max_rows: int = MAX_ROWS,
    max_bytes: int = MAX_BYTES,
) -> int:
    """Write the first cells of an endpoint, as many as MLflow's page bears, and count them."""
    columns = _columns(snapshot)
    rows = 0
    with path.open("wb") as file:
        file.write(f'{{"columns":{_json(list(columns))},"data":['.encode())
        for cell in islice(cells, max_rows):
            line = _json([read(cell) for read in columns.values()]).encode()
            if file.tell() + len(line) > max_bytes:
                break
            file.write((b",\n" if rows else b"\n") + line)
            rows += 1
        file.write(b"\n]}\n")
    return rows


def _columns(snapshot: Snapshot) -> dict[str, Read]:
    template = template_of(snapshot)
    scorers = distinct(f"{scorer.name}/score" for scorer in snapshot.scorers)
    ours: dict[str, Read] = {
        "prompt": lambda cell: _prompt(template, cell),
        "output": lambda cell: cell.completion,
        **{name: _score(position) for position, name in enumerate(scorers)},
        "outcome": lambda cell: cell.outcome.value,
        "error": lambda cell: cell.error,
        "row": lambda cell: cell.row_key,
        **({"repeat": lambda cell: cell.key.repeat} if snapshot.repeats > 1 else {}),
        LATENCY: lambda cell: cell.latency_ms,
        TOTAL_TOKENS: _total_tokens,
        "input_tokens": lambda cell: cell.input_tokens,
        "output_tokens": lambda cell: cell.output_tokens,
    }
    # The page finds `prompt` and `output` by name: a variable of that name makes way.
    theirs = {
        f"{name} (variable)" if name in ours else name: _variable(name) for name in _shown(snapshot)
    }
    return theirs | ours


def _shown(snapshot: Snapshot) -> Sequence[str]:
    """Name the row's columns that are shown: what the prompt and the scorers read."""
    targets = [scorer.target for scorer in snapshot.scorers if scorer.target is not None]
    return tuple(dict.fromkeys([*snapshot.prompt.variables, *targets]))


def _variable(name: str) -> Read:
    def read(cell: ReadCell) -> str | None:
        value = cell.variables.get(name)
        return value if value is None or isinstance(value, str) else _json(value)

    return read


def _score(position: int) -> Read:
    def read(cell: ReadCell) -> float | None:
        return next((score.value for score in cell.scores if score.scorer == position), None)

    return read


def _total_tokens(cell: ReadCell) -> int | None:
    if cell.input_tokens is None or cell.output_tokens is None:
        return None
    return cell.input_tokens + cell.output_tokens


def _prompt(template: Template, cell: ReadCell) -> str | None:
    try:
        messages = template.render(cell.variables, row=cell.key.row)
    except InvalidInput:  # the cell says so itself, in `error`
        return None
    return written([(message.role, message.content) for message in messages])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
