"""Projects: who shares the workers, and by which weights."""

from datetime import datetime
from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator, Field

from api.dependencies import ContextDep
from api.wire import Limit, Out, Page, clean, page, problems, resource, shown
from hikaku.names import ProjectName
from hikaku.numbers import Number
from hikaku.specs import Closed
from hikaku.storage import projects
from hikaku.storage.tables import Project

router = resource("/projects", "projects")

InPath = Annotated[ProjectName, Path(examples=["nightly"]), AfterValidator(clean)]


class Weight(Closed):
    """The share of a project."""

    weight: Number = Field(
        ge=0.01,
        le=1000,
        allow_inf_nan=False,
        description="Of two projects with work waiting, one of weight 2 runs twice as many calls.",
    )


class ProjectOut(Out):
    """A project."""

    name: str = Field(examples=["nightly"])
    weight: float = Field(examples=[1.0])
    created_at: datetime


@router.get("", summary="List projects")
def list_projects(
    context: ContextDep,
    after: Annotated[
        str | None,
        Query(max_length=100, description="The `last_id` of the page before."),
        AfterValidator(lambda text: text if text is None else clean(text)),
    ] = None,
    limit: Limit = 50,
) -> Page[ProjectOut]:
    """Gives projects by name."""
    with context.sessions() as session:
        found = projects.listing(session, after=after, limit=limit + 1)
        entries = [_out(project) for project in found]
    return page(entries, limit, lambda project: project.name)


@router.get("/{name}", summary="Read a project", responses=problems(404))
def read_project(name: InPath, context: ContextDep) -> ProjectOut:
    """Gives one project; the first job of a project makes it."""
    with context.sessions() as session:
        return _out(projects.get(session, name))


@router.put("/{name}", summary="Weigh a project", openapi_extra=shown({"weight": 2}))
def put_project(name: InPath, given: Weight, context: ContextDep) -> ProjectOut:
    """Sets the share of a project, and makes it if it is not there; counts from the next shard."""
    with context.sessions.begin() as session:
        return _out(projects.put(session, name, weight=given.weight))


def _out(project: Project) -> ProjectOut:
    return ProjectOut(name=project.name, weight=project.weight, created_at=project.created_at)
