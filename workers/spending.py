"""Sets money aside for a claim before it asks, and settles up when the claim ends."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from sqlalchemy.orm import Session

from hikaku.jobs import JobState
from hikaku.pricing import Ceiling, ceiling, unbounded
from hikaku.specs import Snapshot
from hikaku.storage import budgets, control, jobs, pilots
from hikaku.storage.budgets import Holder
from hikaku.storage.claims import MOST_LANES, Claim
from workers.database import Database
from workers.errors import StopShard, Unfunded
from workers.purse import Purse

BUDGET = "budget"
"""What a job paused for when its money was spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Funding:
    """That a budget holds a claim, and what bounds its calls."""

    holder: Holder
    worker: UUID
    ceiling: Ceiling | str
    """Or why there is none: nothing may be asked then."""

    async def open(self, database: Database, contents: Iterable[Sequence[str]]) -> Purse:
        """Set aside what these messages can cost, or a part of it."""

        async def refill(least: Decimal) -> Decimal:
            return await self._reserve(database, least * MOST_LANES, least)

        if isinstance(self.ceiling, str):
            return Purse(self.ceiling, Decimal(0), refill)
        bounds = [self.ceiling.of(one) for one in contents]
        granted = await self._reserve(database, sum(bounds, Decimal(0)), min(bounds))
        return Purse(self.ceiling, granted, refill)

    async def _reserve(self, database: Database, wanted: Decimal, least: Decimal) -> Decimal:
        return await database.insist(
            lambda session: budgets.reserve(
                session, self.holder, self.worker, wanted=wanted, least=least
            )
        )

    def settle_up(self, session: Session, stopped: StopShard | None) -> None:
        """Give back what was not spent; a job that nothing pays for any more is paused.

        In the transaction that ends the claim: a shard is locked before its job, and both before
        the money.
        """
        is_out = isinstance(stopped, Unfunded)
        job = jobs.get(session, self.holder.job_id, lock=True) if is_out else None
        budgets.release(session, self.holder.shard_id, self.holder.epoch)
        if job is None or not isinstance(stopped, Unfunded):
            return
        if not budgets.is_spent(session, self.holder, stopped.needed):
            budgets.rest(session, self.holder.shard_id)
        elif job.state in {JobState.QUEUED, JobState.RUNNING}:
            reason = _reason(session, self.holder, stopped)
            if pilots.plan_of(session, job.id) is not None:
                pilots.stop(session, job, reason)
                return
            control.pause(session, job.id, reason=reason)
            job.paused_for = BUDGET
            session.flush()


def funding(project: str, snapshot: Snapshot, claim: Claim, worker: UUID) -> Funding:
    """Say what bounds the calls of a claim that a budget holds."""
    endpoint = snapshot.endpoints[claim.endpoint]
    most = unbounded(snapshot, endpoint) or ceiling(endpoint)
    holder = Holder(claim.shard_id, claim.epoch, claim.job_id, project)
    return Funding(holder=holder, worker=worker, ceiling=most)


def _reason(session: Session, holder: Holder, stopped: Unfunded) -> str:
    if stopped.reason is not None:
        return stopped.reason
    whose = budgets.lacking(session, holder, stopped.needed)
    return f"the budget of the {whose} does not pay for the next call"
