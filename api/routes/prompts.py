"""Prompt templates: store a version, read versions."""

from datetime import datetime
from http import HTTPStatus
from typing import Self

from pydantic import Field, model_validator
from starlette.responses import JSONResponse

from api.dependencies import ContextDep
from api.repeats import OnceDep, respond
from api.wire import (
    BASE,
    PROMPT_EXAMPLE,
    Limit,
    NameFilter,
    Out,
    Page,
    PromptCursor,
    PromptId,
    page,
    problems,
    resource,
    shown,
)
from hikaku import templates
from hikaku.errors import Fault, InvalidInput
from hikaku.names import Label
from hikaku.specs import Closed, Message
from hikaku.storage import prompts
from hikaku.storage.idempotency import Answer
from hikaku.storage.prompts import StoredPrompt

router = resource("/prompts", "prompts")


class NewPrompt(Closed):
    """A prompt template: one user message (`template`), or messages."""

    name: Label
    template: str | None = None
    messages: tuple[Message, ...] | None = Field(default=None, min_length=1, max_length=100)
    note: str | None = Field(default=None, max_length=10_000)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.template is None) == (self.messages is None):
            raise ValueError("give exactly one of template, messages")
        return self

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The messages as (role, content)."""
        if self.messages is None:
            return [("user", self.template or "")]
        return [(message.role, message.content) for message in self.messages]


class Prompt(Out):
    """One version of a prompt template; versions never change."""

    id: str = Field(examples=[PROMPT_EXAMPLE])
    name: str = Field(examples=["color"])
    version: int = Field(examples=[1])
    messages: list[Message]
    variables: list[str] = Field(examples=[["object"]])
    note: str | None = Field(examples=["asks in Japanese"])
    created_at: datetime


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    summary="Store a prompt template",
    response_model=Prompt,
    responses=problems(HTTPStatus.CONFLICT),
    openapi_extra=shown(
        {"name": "color", "template": "{{object}}は何色ですか?"},
        {
            "name": "color-terse",
            "messages": [
                {"role": "system", "content": "Answer with one word."},
                {"role": "user", "content": "What color is {{object}}?"},
            ],
            "note": "one word only",
        },
    ),
)
def add_prompt(new: NewPrompt, context: ContextDep, once: OnceDep) -> JSONResponse:
    """Stores the next version under the name. `{{variables}}` are columns of the rows."""
    template = _parsed(new)
    with context.sessions.begin() as session:
        first = once.recall(session)
        if first is None:
            stored = prompts.add(session, name=new.name, template=template, note=new.note)
            body = _out(stored).model_dump(mode="json")
            answer = Answer(status=HTTPStatus.CREATED, body=body)
            once.keep(session, answer)
        else:
            answer = first
    location = f"{BASE}/prompts/{answer.body['id']}"
    return respond(answer, location=location, replayed=first is not None)


@router.get("", summary="List prompt templates")
def list_prompts(
    context: ContextDep, after: PromptCursor = None, limit: Limit = 50, name: NameFilter = None
) -> Page[Prompt]:
    """Gives versions, newest first."""
    with context.sessions() as session:
        found = prompts.listing(session, after=after, limit=limit + 1, name=name)
    return page([_out(prompt) for prompt in found], limit, lambda prompt: prompt.id)


@router.get(
    "/{prompt_id}", summary="Read a prompt template", responses=problems(HTTPStatus.NOT_FOUND)
)
def read_prompt(prompt_id: PromptId, context: ContextDep) -> Prompt:
    """Gives one version."""
    with context.sessions() as session:
        return _out(prompts.get(session, prompt_id))


def _parsed(new: NewPrompt) -> templates.Template:
    try:
        return templates.parse(new.pairs)
    except InvalidInput as error:
        if new.messages is not None:
            raise
        faults = [Fault(pointer="/template", message=fault.message) for fault in error.faults]
        raise InvalidInput(str(error), faults=faults) from error


def _out(stored: StoredPrompt) -> Prompt:
    return Prompt(
        id=stored.id,
        name=stored.name,
        version=stored.number,
        messages=list(stored.messages),
        variables=list(stored.variables),
        note=stored.note,
        created_at=stored.created_at,
    )
