"""Prompt templates: every change is a new version, and versions never change."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Row, Select, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.errors import NotFound, UnknownName
from hikaku.specs import Message, PromptRef
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


def find(session: Session, ref: PromptRef) -> StoredPrompt:
    """Give the stored version that a job names, the newest when it names no version.

    Raises:
        UnknownName: There is no such template or version.
    """
    if ref.id is not None:
        try:
            return get(session, ref.id)
        except NotFound as error:
            raise UnknownName(str(error)) from error
    query = _versions().where(PromptTemplate.name == ref.name)
    if ref.version is not None:
        query = query.where(PromptVersion.number == ref.version)
    found = session.execute(query.order_by(PromptVersion.number.desc()).limit(1)).one_or_none()
    if found is None:
        version = "" if ref.version is None else f" with version {ref.version}"
        raise UnknownName(f"there is no prompt template {ref.name!r}{version}")
    return _from(found)


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
