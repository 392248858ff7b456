"""Is it alive, is it ready, which version, what is queued."""

from http import HTTPStatus

from fastapi import APIRouter
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse

from api.dependencies import ContextDep
from api.security import GuardedRoute, public
from api.wire import BASE, Out
from hikaku.storage import jobs

router = APIRouter(tags=["service"], route_class=GuardedRoute)


class Alive(Out):
    """The process answers."""

    status: str = "ok"


class Version(Out):
    """Which Hikaku this is."""

    version: str


class WorkerOut(Out):
    """A worker process whose lease is good."""

    host: str
    pid: int
    trouble: str | None = None
    """What keeps it from asking, such as a full disk."""


class QueueOut(Out):
    """What waits and what runs, over all jobs."""

    queued_shards: int
    running_shards: int
    workers: list[WorkerOut]


class Status(Version):
    """How the installation is doing."""

    queue: QueueOut


@router.get("/health", summary="Is the process alive")
@public
async def health() -> Alive:
    """Answers as long as the process runs; looks at nothing else."""
    return Alive()


@router.get(
    "/ready",
    summary="Can requests be served",
    responses={503: {"description": "The database does not answer.", "model": Alive}},
)
@public
def ready(context: ContextDep) -> JSONResponse:
    """Asks the database. Load balancers take the process out while this is not 200."""
    try:
        with context.sessions() as session:
            session.execute(text("select 1"))
    except SQLAlchemyError:
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return JSONResponse({"status": "database unavailable"}, status_code=status)
    return JSONResponse({"status": "ok"})


@router.get(f"{BASE}/version", summary="Tell the version")
async def version(context: ContextDep) -> Version:
    """Gives the version of the server."""
    return Version(version=context.version)


@router.get(f"{BASE}/status", summary="Tell what is queued and who works")
def status(context: ContextDep) -> Status:
    """Counts shards that wait and run over all jobs, and names the workers that are alive."""
    with context.sessions() as session:
        depth = jobs.queue_depth(session)
    workers = [
        WorkerOut(host=host, pid=pid, trouble=trouble) for host, pid, trouble in depth.workers
    ]
    queue = QueueOut(
        queued_shards=depth.queued_shards, running_shards=depth.running_shards, workers=workers
    )
    return Status(version=context.version, queue=queue)
