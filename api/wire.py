"""What all resources share on the wire: pages, ids, cursors, and the problems they answer with."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Generic, TypeVar

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.bodies import unfit
from api.errors import MEDIA_TYPE, Problem
from api.security import GuardedRoute
from hikaku import ids
from hikaku.errors import NotFound

BASE = "/api/v1"

T = TypeVar("T")

JOB_EXAMPLE = "job_01kbd2m6v1e0g8x3h5t7q9wz4c"
DATASET_EXAMPLE = "ds_01kbd2m0a4f7s2y9n6p1r8kq3v"
PROMPT_EXAMPLE = "pt_01kbd2ksx8w3c5d7f9h1j2m4np"
SCHEDULE_EXAMPLE = "sch_01kbd2q3n5t7v9x1z3b5d7f9hk"


class Out(BaseModel):
    """Something the API answers with."""

    model_config = ConfigDict(frozen=True)


class Page(Out, Generic[T]):
    """A run of a list; ask for the next with `after=<last_id>` while `has_more`."""

    data: list[T]
    first_id: str | None
    last_id: str | None
    has_more: bool


def page(found: Sequence[T], limit: int, id_of: Callable[[T], str]) -> Page[T]:
    """Make a page of at most `limit`, given one more than that if there is more."""
    data = list(found[:limit])
    return Page(
        data=data,
        first_id=id_of(data[0]) if data else None,
        last_id=id_of(data[-1]) if data else None,
        has_more=len(found) > limit,
    )


def written(answer: Out) -> Response:
    """Write an answer as it is: it is our own, and FastAPI would check all of it once more."""
    return Response(answer.model_dump_json(), media_type="application/json")


def resource(path: str, tag: str) -> APIRouter:
    """Make the router of one resource; its routes stand behind the guard."""
    return APIRouter(prefix=BASE + path, tags=[tag], route_class=GuardedRoute)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Document the failures an operation has besides those that all have."""
    return {
        int(status): {
            "description": HTTPStatus(status).phrase,
            "content": {
                MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}
            },
        }
        for status in statuses
    }


def shown(*examples: object) -> dict[str, Any]:
    """Put examples into the documentation of a request body."""
    named = {f"example {number}": {"value": e} for number, e in enumerate(examples, start=1)}
    return {"requestBody": {"content": {"application/json": {"examples": named}}}}


def clean(text: str) -> str:
    """Refuse text that cannot be stored."""
    if (fault := unfit(text)) is not None:
        raise ValueError(fault)
    return text


def _id(prefix: str, noun: str) -> AfterValidator:
    def check(text: str) -> str:
        try:
            ids.decode(prefix, text)
        except ValueError as error:
            raise NotFound(f"there is no {noun} {clean(text)!r}") from error
        return text

    return AfterValidator(check)


def _cursor(prefix: str) -> AfterValidator:
    def check(text: str | None) -> str | None:
        if text is not None:
            ids.decode(prefix, text)
        return text

    return AfterValidator(check)


JobId = Annotated[str, Path(examples=[JOB_EXAMPLE]), _id(ids.JOB, "job")]
DatasetId = Annotated[
    str, Path(examples=[DATASET_EXAMPLE]), _id(ids.DATASET_REVISION, "dataset revision")
]
PromptId = Annotated[
    str, Path(examples=[PROMPT_EXAMPLE]), _id(ids.PROMPT_VERSION, "prompt version")
]
ScheduleId = Annotated[str, Path(examples=[SCHEDULE_EXAMPLE]), _id(ids.SCHEDULE, "schedule")]

_AFTER = "The `last_id` of the page before."
JobCursor = Annotated[str | None, Query(description=_AFTER), _cursor(ids.JOB)]
DatasetCursor = Annotated[str | None, Query(description=_AFTER), _cursor(ids.DATASET_REVISION)]
PromptCursor = Annotated[str | None, Query(description=_AFTER), _cursor(ids.PROMPT_VERSION)]
ScheduleCursor = Annotated[str | None, Query(description=_AFTER), _cursor(ids.SCHEDULE)]
RowCursor = Annotated[int | None, Query(ge=0, le=2**31 - 1, description=_AFTER)]

Limit = Annotated[int, Query(ge=1, le=200, description="Entries a page holds at most.")]
NameFilter = Annotated[
    str | None,
    Query(min_length=1, max_length=200, description="Only those with this name."),
    AfterValidator(lambda text: text if text is None else clean(text)),
]
ProjectFilter = Annotated[
    str | None,
    Query(min_length=1, max_length=100, description="Only those of this project."),
    AfterValidator(lambda text: text if text is None else clean(text)),
]
Named = Annotated[str, Field(min_length=1, max_length=200)]
