"""Budgets of jobs and projects: reserved in bulk before the calls, settled with their results.

A claim sets aside what its calls can cost at most. Their real costs land on the reservation in the
transaction of the results. When the claim ends, what was not spent goes back. A dead worker's
reservation stays spent until its spool has been adopted: then it is known which calls were made,
and those that nobody saw the end of stay spent at the most that they can have cost.

Rows are locked in one order: shard, reservation, budget.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from psycopg import Cursor
from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.jobs import AttemptOutcome
from hikaku.storage.tables import Budget, BudgetKind, Reservation, Shard, Worker

SHARE = 4
"""A claim takes at most this part of what is left, so that others can go on beside it."""

PATIENCE = timedelta(seconds=1)
"""How long a shard rests whose money others hold at the moment."""

_ZERO = Decimal(0)

Owner = tuple[BudgetKind, str]


class Holder(NamedTuple):
    """Who spends: a claim of a shard, its job and its project."""

    shard_id: int
    epoch: int
    job_id: str
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """How a budget stands."""

    limit_usd: Decimal
    spent_usd: Decimal
    """Settled, and unknown costs at their most."""
    reserved_usd: Decimal
    """Set aside for calls that are not settled yet."""

    @property
    def left_usd(self) -> Decimal:
        """What may still be reserved."""
        return max(_ZERO, self.limit_usd - self.spent_usd - self.reserved_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The money of one job's claims, of all that ever held a reservation."""

    reserved_usd: Decimal
    unknown_usd: Decimal


def set_limit(session: Session, kind: BudgetKind, owner: str, usd: Decimal) -> None:
    """Give a job or a project a budget, or change it; what was spent stays spent."""
    statement = insert(Budget).values(kind=kind, owner=owner, limit_usd=usd)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[Budget.kind, Budget.owner], set_={"limit_usd": usd}
        )
    )


def remove(session: Session, kind: BudgetKind, owner: str) -> bool:
    """Take a budget away; False if there was none."""
    column = Reservation.of_job if kind is BudgetKind.JOB else Reservation.of_project
    whose = Reservation.job_id if kind is BudgetKind.JOB else Reservation.project
    session.execute(update(Reservation).where(whose == owner, column).values({column: False}))
    found = session.get(Budget, (kind, owner))
    if found is not None:
        session.delete(found)
        session.flush()
    return found is not None


def funds(session: Session, kind: BudgetKind, owner: str) -> Funds | None:
    """Tell how a budget stands; None if there is none."""
    return funds_of(session, kind, [owner]).get(owner)


def funds_of(session: Session, kind: BudgetKind, owners: Sequence[str]) -> dict[str, Funds]:
    """Tell how budgets stand, by owner; an owner without one is left out."""
    rows = session.execute(
        select(Budget.owner, Budget.limit_usd, Budget.spent_usd, Budget.reserved_usd).where(
            Budget.kind == kind, Budget.owner.in_(set(owners))
        )
    ).all()
    if not rows:
        return {}
    settled = _settled(session, kind, [row[0] for row in rows])
    return {
        owner: Funds(
            limit_usd=limit,
            spent_usd=spent + settled.get(owner, _ZERO),
            reserved_usd=max(_ZERO, reserved - settled.get(owner, _ZERO)),
        )
        for owner, limit, spent, reserved in rows
    }


def _settled(session: Session, kind: BudgetKind, owners: Sequence[str]) -> dict[str, Decimal]:
    """Sum what claims that are not over have spent already."""
    is_job = kind is BudgetKind.JOB
    whose = Reservation.job_id if is_job else Reservation.project
    counts = Reservation.of_job if is_job else Reservation.of_project
    statement = (
        select(whose, func.sum(Reservation.spent_usd))
        .where(whose.in_(owners), counts, Reservation.released_at.is_(None))
        .group_by(whose)
    )
    return dict(session.execute(statement).all())


def is_held(session: Session, job_id: str, project: str) -> bool:
    """Tell whether a budget holds a job: its own, or its project's."""
    return bool(session.scalar(select(func.count()).where(_of(job_id, project))))


def reserve(
    session: Session, holder: Holder, worker: UUID, *, wanted: Decimal, least: Decimal
) -> Decimal:
    """Set money aside for a claim, or more of it. Repeated, it holds more than is needed.

    Args:
        session: The transaction.
        holder: Whose calls they are.
        worker: Who makes them.
        wanted: What all of them can cost.
        least: What one of them can cost; with less there is nothing to begin.

    Returns:
        What was set aside: 0 when not even `least` is left.
    """
    held = session.execute(
        select(Budget.kind, Budget.limit_usd - Budget.spent_usd - Budget.reserved_usd)
        .where(_of(holder.job_id, holder.project))
        .order_by(Budget.kind, Budget.owner)
        .with_for_update()
    ).all()
    left = min((row[1] for row in held), default=_ZERO)
    granted = min(wanted, max(least, left / SHARE))
    if not held or left < least:
        return _ZERO
    kinds = {row[0] for row in held}
    statement = insert(Reservation).values(
        **holder._asdict(),
        worker=worker,
        usd=granted,
        of_job=BudgetKind.JOB in kinds,
        of_project=BudgetKind.PROJECT in kinds,
    )
    session.execute(
        statement.on_conflict_do_update(
            index_elements=[Reservation.shard_id, Reservation.epoch],
            set_={"usd": Reservation.usd + granted},
        )
    )
    session.execute(
        update(Budget)
        .where(_of(holder.job_id, holder.project))
        .values(reserved_usd=Budget.reserved_usd + granted)
    )
    return granted


def release(session: Session, shard_id: int, epoch: int) -> None:
    """Give back what a claim has not spent, and book what it has; safe to repeat."""
    _release(session, and_(Reservation.shard_id == shard_id, Reservation.epoch == epoch))


def release_dead(session: Session, worker: UUID) -> None:
    """Give back what a dead worker did not spend; its spool has been adopted, whole."""
    _release(session, Reservation.worker == worker)


def _release(session: Session, which: ColumnElement[bool]) -> None:
    released = session.execute(
        update(Reservation)
        .where(which, Reservation.released_at.is_(None))
        .values(released_at=func.now())
        .returning(
            Reservation.job_id,
            Reservation.project,
            Reservation.of_job,
            Reservation.of_project,
            Reservation.usd,
            Reservation.spent_usd,
        )
    ).all()
    sums: dict[Owner, list[Decimal]] = defaultdict(lambda: [_ZERO, _ZERO])
    for job_id, project, of_job, of_project, usd, spent in released:
        for owner in _owners(job_id, project, of_job=of_job, of_project=of_project):
            sums[owner][0] += usd
            sums[owner][1] += spent
    for (kind, name), (usd, spent) in sorted(sums.items()):
        session.execute(
            update(Budget)
            .where(Budget.kind == kind, Budget.owner == name)
            .values(
                reserved_usd=func.greatest(Budget.reserved_usd - usd, 0),
                spent_usd=Budget.spent_usd + spent,
            )
        )


def _owners(job_id: str, project: str, *, of_job: bool, of_project: bool) -> Iterable[Owner]:
    if of_job:
        yield BudgetKind.JOB, job_id
    if of_project:
        yield BudgetKind.PROJECT, project


def is_spent(session: Session, holder: Holder, needed: Decimal) -> bool:
    """Tell whether a call cannot be paid, and nobody alive holds money that may come back."""
    return any(
        not _is_out(session, kind, owner) for kind, owner in _lacking(session, holder, needed)
    )


def lacking(session: Session, holder: Holder, needed: Decimal) -> str:
    """Name the budgets that do not pay for a call."""
    found = _lacking(session, holder, needed)
    return " and of the ".join(
        kind if kind is BudgetKind.JOB else f"{kind} {owner}" for kind, owner in found
    )


def _lacking(session: Session, holder: Holder, needed: Decimal) -> list[Owner]:
    left = Budget.limit_usd - Budget.spent_usd - Budget.reserved_usd
    statement = (
        select(Budget.kind, Budget.owner, left)
        .where(_of(holder.job_id, holder.project))
        .order_by(Budget.kind, Budget.owner)
        .with_for_update()
    )
    return [
        (BudgetKind(kind), owner)
        for kind, owner, there in session.execute(statement)
        if there < needed
    ]


def _is_out(session: Session, kind: BudgetKind, owner: str) -> bool:
    """Tell whether a live worker holds some of a budget."""
    whose = (
        and_(Reservation.of_job, Reservation.job_id == owner)
        if kind is BudgetKind.JOB
        else and_(Reservation.of_project, Reservation.project == owner)
    )
    statement = (
        select(Reservation.shard_id)
        .join(Worker, Worker.id == Reservation.worker)
        .where(whose, Reservation.released_at.is_(None), Worker.lease_until > func.now())
        .limit(1)
    )
    return session.execute(statement).first() is not None


def rest(session: Session, shard_id: int) -> None:
    """Let a shard wait a moment for money that others hold."""
    session.execute(
        update(Shard).where(Shard.id == shard_id).values(not_before=func.now() + PATIENCE)
    )


_CHARGE = """
with charge as (
    select * from unnest(%s::int8[], %s::int4[], %s::numeric[], %s::numeric[])
        as c(shard_id, epoch, usd, unknown_usd) order by 1, 2)
update reservation r
   set spent_usd = r.spent_usd + c.usd, unknown_usd = r.unknown_usd + c.unknown_usd
  from charge c where r.shard_id = c.shard_id and r.epoch = c.epoch
returning r.job_id, r.project, r.of_job, r.of_project, r.released_at is not null, c.usd
"""


class Charges:
    """What the calls of a batch cost the reservations of their claims."""

    def __init__(self) -> None:
        self._by_claim: dict[tuple[int, int], tuple[Decimal, Decimal]] = {}

    def add(
        self,
        claim: tuple[int, int],
        outcome: AttemptOutcome,
        cost: Decimal | None,
        reserved: Decimal,
    ) -> None:
        """Count one call. A cost that nobody knows is the most it can be; unknown is not free."""
        unknown = reserved if cost is None and outcome.may_be_billed else _ZERO
        usd, unknown_before = self._by_claim.get(claim, (_ZERO, _ZERO))
        self._by_claim[claim] = (usd + (cost or unknown), unknown_before + unknown)

    def book(self, cursor: Cursor[object]) -> None:
        """Settle them, in the transaction of the results."""
        lines = [(*claim, *amounts) for claim, amounts in self._by_claim.items()]
        if not lines:
            return
        columns = [list(column) for column in zip(*lines, strict=True)]
        rows: Sequence[tuple[UUID, str, bool, bool, bool, Decimal]]
        rows = cursor.execute(_CHARGE, columns).fetchall()  # type: ignore[assignment]
        for job, project, of_job, of_project, is_late, usd in rows:
            owners = _owners(
                ids.encode(ids.JOB, job), project, of_job=of_job, of_project=of_project
            )
            for owner in owners if is_late else ():
                cursor.execute(
                    "update budget set spent_usd = spent_usd + %s where kind = %s and owner = %s",
                    [usd, *owner],
                )


def _of(job_id: str, project: str) -> ColumnElement[bool]:
    return or_(
        and_(Budget.kind == BudgetKind.JOB, Budget.owner == job_id),
        and_(Budget.kind == BudgetKind.PROJECT, Budget.owner == project),
    )
