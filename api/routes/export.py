"""A whole job as one file; streamed, so that its size does not matter to memory."""

import csv
import json
import re
from collections.abc import Callable, Generator, Iterator
from enum import StrEnum
from io import StringIO
from typing import Annotated

from fastapi import Query
from starlette.responses import StreamingResponse

from api.cell_view import CellOut, cell_out
from api.context import Context
from api.dependencies import ContextDep
from api.streams import attachment, from_thread, joined
from api.wire import JobId, problems, resource
from hikaku.specs import Snapshot
from hikaku.storage import datasets, jobs, results

router = resource("/jobs", "jobs")

_FIELDS = (
    "row", "row_key", "endpoint", "repeat", "outcome", "completion", "finish_reason",
    "input_tokens", "output_tokens", "latency_ms", "cost_usd", "error", "attempts", "reused",
)  # fmt: skip

_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)


class ExportFormat(StrEnum):
    """How an export is written."""

    JSONL = "jsonl"
    CSV = "csv"


_MEDIA = {ExportFormat.JSONL: "application/x-ndjson", ExportFormat.CSV: "text/csv; charset=utf-8"}
_LINE = '{"id":"0.0.0","row":0,"endpoint":"qwen-coder","outcome":"ok","completion":"赤です。"}\n'


@router.get(
    "/{job_id}/export",
    summary="Export a job",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "All recorded cells, in order; those never asked have no line.",
            "content": {
                "application/x-ndjson": {"schema": {"type": "string"}, "example": _LINE},
                "text/csv": {"schema": {"type": "string"}},
            },
        },
        **problems(404),
    },
)
def export_job(
    job_id: JobId,
    context: ContextDep,
    format: Annotated[ExportFormat, Query()] = ExportFormat.JSONL,  # noqa: A002
    *,
    excel: Annotated[
        bool,
        Query(
            description="CSV for spreadsheets: with a byte order mark, and `'` before what they "
            "would run as a formula. Without it, values are exact."
        ),
    ] = False,
) -> StreamingResponse:
    """Streams every recorded cell with its row and its scores."""
    with context.sessions() as session:
        job = jobs.get(session, job_id)
        snapshot = jobs.snapshot(job)
        columns = datasets.get(session, snapshot.dataset.id).columns
    name = f"{job.name}.{format}"
    write = _lines if format is ExportFormat.JSONL else _table(columns, snapshot, excel=excel)
    return StreamingResponse(
        from_thread(_export(context, job_id, snapshot, write)),
        media_type=_MEDIA[format],
        headers={"content-disposition": attachment(name)},
    )


Writer = Callable[[Iterator[CellOut]], Iterator[bytes]]


def _export(context: Context, job_id: str, snapshot: Snapshot, write: Writer) -> Generator[bytes]:
    yield from joined(write(_cells(context, job_id, snapshot)))


def _cells(context: Context, job_id: str, snapshot: Snapshot) -> Iterator[CellOut]:
    """Read page by page, each in a transaction of its own: a slow reader holds no connection."""
    after: results.CellKey | None = None
    while True:
        with context.sessions() as session:
            job = jobs.get(session, job_id)
            page = results.cells(session, job, after=after, limit=results.PAGE)
        if not page:
            return
        yield from (cell_out(cell, snapshot) for cell in page)
        after = page[-1].key


def _lines(cells: Iterator[CellOut]) -> Iterator[bytes]:
    for cell in cells:
        yield cell.model_dump_json().encode() + b"\n"


def _table(columns: tuple[str, ...], snapshot: Snapshot, *, excel: bool) -> Writer:
    scorers = [scorer.name for scorer in snapshot.scorers]
    header = [
        *_FIELDS,
        *(f"variables.{column}" for column in columns),
        *(f"{what}.{name}" for name in scorers for what in ("scores", "unscored")),
    ]

    def write(cells: Iterator[CellOut]) -> Iterator[bytes]:
        yield (b"\xef\xbb\xbf" if excel else b"") + _record(header, excel=excel)
        for cell in cells:
            yield _record(_values(cell, columns, scorers), excel=excel)

    return write


def _values(cell: CellOut, columns: tuple[str, ...], scorers: list[str]) -> list[str]:
    values = [_text(getattr(cell, field)) for field in _FIELDS]
    values += [_text(cell.variables.get(column)) for column in columns]
    for name in scorers:
        score = cell.scores.get(name)
        values += ["", ""] if score is None else [_text(score.value), _text(score.unscored)]
    return values


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _record(values: list[str], *, excel: bool) -> bytes:
    line = StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL).writerow(map(guarded, values) if excel else values)
    return line.getvalue().encode()


def guarded(value: str) -> str:
    """Put `'` before text that a spreadsheet would run; numbers stay numbers."""
    is_formula = _FORMULA.match(value) is not None and _NUMBER.fullmatch(value) is None
    return f"'{value}" if is_formula else value
