"""The cells of a job, page by page."""

from typing import Annotated

from fastapi import Query

from api.cell_view import CellOut, cell_key, cell_out, endpoint_number
from api.dependencies import ContextDep
from api.wire import JobId, Limit, Page, page, problems, resource
from hikaku.jobs import Outcome
from hikaku.storage import jobs, results

router = resource("/jobs", "jobs")

OutcomeFilter = Annotated[
    list[Outcome], Query(max_length=16, description="Only cells that ended so; may be repeated.")
]
EndpointFilter = Annotated[
    str | None, Query(max_length=200, description="Only cells of this endpoint, by name.")
]


@router.get("/{job_id}/cells", summary="Read cells", responses=problems(404))
def list_cells(
    job_id: JobId,
    context: ContextDep,
    *,
    after: Annotated[
        str | None, Query(max_length=30, description="The `last_id` of the page before.")
    ] = None,
    limit: Limit = 50,
    outcome: OutcomeFilter = [],  # noqa: B006 - FastAPI copies it
    endpoint: EndpointFilter = None,
) -> Page[CellOut]:
    """Gives recorded cells in the order of endpoint, row and repeat, with their scores.

    Cells that were not asked have no row here: the job's `counts` tell how many those are, as
    `pending`, `budget_skipped` (while it is paused for its budget) or `cancelled` (at its end).
    """
    with context.sessions() as session:
        job = jobs.get(session, job_id)
        snapshot = jobs.snapshot(job)
        found = results.cells(
            session,
            job,
            after=None if after is None else cell_key(after),
            limit=limit + 1,
            outcomes=outcome,
            endpoint=None if endpoint is None else endpoint_number(snapshot, endpoint),
        )
    return page([cell_out(cell, snapshot) for cell in found], limit, lambda cell: cell.id)
