"""Projects: the parties that share the workers, and their weights."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from hikaku.errors import NotFound
from hikaku.storage.tables import Project


def ensure(session: Session, name: str) -> None:
    """Enter a project, unless it is there."""
    if session.scalar(select(Project.name).where(Project.name == name)) is None:
        session.execute(insert(Project).values(name=name).on_conflict_do_nothing())


def put(session: Session, name: str, *, weight: float) -> Project:
    """Give a project its weight; enters it if it is new."""
    statement = (
        insert(Project)
        .values(name=name, weight=weight)
        .on_conflict_do_update(index_elements=[Project.name], set_={"weight": weight})
        .returning(Project)
    )
    return session.scalars(statement, execution_options={"populate_existing": True}).one()


def get(session: Session, name: str) -> Project:
    """Read a project.

    Raises:
        NotFound: There is none of this name.
    """
    found = session.get(Project, name)
    if found is None:
        raise NotFound(f"there is no project {name!r}; a job or a PUT with this name makes it")
    return found


def listing(session: Session, *, after: str | None, limit: int) -> Sequence[Project]:
    """List projects by name, from the one after `after`."""
    statement = select(Project).order_by(Project.name).limit(limit)
    if after is not None:
        statement = statement.where(Project.name > after)
    return session.scalars(statement).all()
