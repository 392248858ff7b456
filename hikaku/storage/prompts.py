"""Prompt templates: every change is a new version, and versions never change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, Select, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.errors import NotFound
from hikaku.specs import Message, SnapshotPrompt
from hikaku.storage.tables import PromptTemplate, PromptVersion
from hikaku.templates import Template


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPrompt:
    """One version of a named prompt template."""

    id: str
    name: str
    number: int
    messages: tuple[Message, ...]
    variables: tuple[str, ...]
    note: str | None
    created_at: datetime


def add(session: Session, *, name: str, template: Template, note: str | None) -> StoredPrompt:
    """Store the next version of the named template. Versions of one name are added in turn."""
    session.execute(insert(PromptTemplate).values(name=name).on_conflict_do_nothing())
    named = select(PromptTemplate.key).where(PromptTemplate.name == name).with_for_update()
    key = session.scalars(named).one()
    newest = select(func.max(PromptVersion.number)).where(PromptVersion.template_key == key)
    version = PromptVersion(
        id=ids.new_id(ids.PROMPT_VERSION),
        template_key=key,
        number=(session.scalar(newest) or 0) + 1,
        messages=[{"role": m.role, "content": m.content} for m in template.messages],
        variables=list(template.variables),
        note=note,
    )
    session.add(version)
    session.flush()
    return _stored(version, name)


def get(session: Session, prompt_id: str) -> StoredPrompt:
    """Give the version with this id.

    Raises:
        NotFound: There is none.
    """
    _check(prompt_id)
    found = session.execute(_versions().where(PromptVersion.id == prompt_id)).one_or_none()
    if found is None:
        raise NotFound(f"there is no prompt version {prompt_id}")
    return _from(found)


def by_name(session: Session, name: str, number: int | None = None) -> StoredPrompt:
    """Give a version of the named template, the newest when no number is given.

    Raises:
        NotFound: There is no such template or version.
    """
    query = _versions().where(PromptTemplate.name == name)
    if number is not None:
        query = query.where(PromptVersion.number == number)
    newest = query.order_by(PromptVersion.number.desc()).limit(1)
    found = session.execute(newest).one_or_none()
    if found is None:
        which = "" if number is None else f" with version {number}"
        raise NotFound(f"there is no prompt template {name!r}{which}")
    return _from(found)


def snapshot(
    session: Session,
    *,
    id: str | None = None,  # noqa: A002 - the word of `PromptRef`
    name: str | None = None,
    version: int | None = None,
) -> SnapshotPrompt:
    """Write down the version that a job names by its id, or by name and perhaps number.

    Raises:
        NotFound: There is no such version.
    """
    found = get(session, id) if id is not None else by_name(session, name or "", version)
    return SnapshotPrompt(
        id=found.id,
        name=found.name,
        version=found.number,
        messages=found.messages,
        variables=found.variables,
    )


def listing(
    session: Session, *, after: str | None, limit: int, name: str | None = None
) -> Sequence[StoredPrompt]:
    """Give versions, newest first, from the one after `after`."""
    query = _versions().order_by(PromptVersion.id.desc()).limit(limit)
    if after is not None:
        query = query.where(PromptVersion.id < after)
    if name is not None:
        query = query.where(PromptTemplate.name == name)
    return [_from(found) for found in session.execute(query)]


def _versions() -> Select[PromptVersion, str]:
    return select(PromptVersion, PromptTemplate.name).join(
        PromptTemplate, PromptTemplate.key == PromptVersion.template_key
    )


def _check(prompt_id: str) -> None:
    try:
        ids.decode(ids.PROMPT_VERSION, prompt_id)
    except ValueError as error:
        raise NotFound(f"there is no prompt version {prompt_id!r}") from error


def _from(found: Row[PromptVersion, str]) -> StoredPrompt:
    version, name = found
    return _stored(version, name)


def _stored(version: PromptVersion, name: str) -> StoredPrompt:
    return StoredPrompt(
        id=version.id,
        name=name,
        number=version.number,
        messages=tuple(Message.model_validate(message) for message in version.messages),
        variables=tuple(version.variables),
        note=version.note,
        created_at=version.created_at,
    )
