"""Goes on with an offload: hands its cells over to the vendor, waits, and records what came.

Postgres says what is next. A process that dies between the vendor's yes and our note of it
leaves an offload that was about to be handed over: the next one looks for it at the vendor first.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from gateway.config import Catalog
from gateway.errors import GatewayError, PermanentError, UnknownEndpoint
from gateway.http import DirectTransport, Transport
from gateway.providers.batching import BatchAnswer, VendorBatches
from gateway.providers.offered import batches_of
from hikaku.failpoints import Point, reach
from hikaku.jobs import CellRecord, JobState
from hikaku.storage import batches, jobs, offloads, recording
from hikaku.storage.connection import Sessions
from hikaku.storage.tables import Job, Offload
from workers.consignment import MOST_BYTES, Consignment, NotOursError
from workers.database import DATABASE_ERRORS

log = logging.getLogger(__name__)

RECORDED_AT_ONCE = 256
MAX_FAULTS = 20
"""Failures in a row after which the vendor is given up."""
CANCEL_AHEAD = timedelta(minutes=1)
"""Before the deadline the vendor is asked to stop, so that nothing is bought from both."""

Catalogs = Callable[[], Catalog]
"""Gives the gateway's catalog of this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """An offload as one step sees it."""

    offload: Offload
    job: Job
    vendor: VendorBatches
    now: datetime
    """By the database's clock, as the deadline is."""

    @property
    def id(self) -> str:
        return self.offload.id

    @property
    def is_unwanted(self) -> bool:
        """Whether its job has ended, or is being cancelled."""
        return self.job.finished_at is not None or self.job.state == JobState.CANCELLING

    @property
    def is_late(self) -> bool:
        """Whether the rest is being asked online."""
        return self.now >= self.offload.deadline

    @property
    def is_running_late(self) -> bool:
        """Whether the vendor is to stop."""
        deadline = self.offload.deadline
        ahead = min(CANCEL_AHEAD, (deadline - self.offload.created_at) / 4)
        return self.now >= deadline - ahead


class Offloader:
    """Goes on with offloads, one step at a time."""

    def __init__(self, sessions: Sessions, catalogs: Catalogs, *, poll: timedelta) -> None:
        self._sessions = sessions
        self._catalogs = catalogs
        self._poll = poll

    def go_on(self, offload_id: str) -> None:
        """Do the next step; nothing, if somebody else does."""
        with self._sessions() as guard:  # its lock ends with this process, whatever happens
            if not batches.claim(guard, offload_id):
                return
            try:
                asyncio.run(self._step(offload_id))
            except DATABASE_ERRORS:
                raise  # the sweep comes by again
            except Exception as error:
                if not isinstance(error, GatewayError):
                    log.exception("offload stumbled", extra={"offload": offload_id})
                self._stumbled(offload_id, error)
            self._settle(offload_id)

    def _settle(self, offload_id: str) -> None:
        """Close the job if this was all that it waited for.

        In a transaction of its own: a job is locked before its shards, an offload after none.
        """
        with self._sessions.begin() as session:
            offload = offloads.get(session, offload_id)
            if offload.state not in offloads.OPEN:
                jobs.close_if_ended(session, offload.job_id)

    async def _step(self, offload_id: str) -> None:
        async with _transport() as transport:
            with self._sessions() as session:
                offload = offloads.get(session, offload_id)
                job = jobs.get(session, offload.job_id)
                name = jobs.snapshot(job).endpoints[offload.endpoint].name
                now = offloads.clock(session)
            endpoint = self._catalogs().endpoints.get(name)
            if endpoint is None:
                raise UnknownEndpoint(name)
            vendor = batches_of(endpoint, transport)
            case = _Case(offload=offload, job=job, vendor=vendor, now=now)
            if offload.state in offloads.OPEN:
                await self._go_on(case)

    async def _go_on(self, case: _Case) -> None:
        if case.offload.vendor_id is not None:
            await self._look(case, case.offload.vendor_id)
        elif case.is_unwanted or case.is_running_late:
            await self._call_off(case)
        elif case.job.state == JobState.PAUSED:
            self._wait(case)
        else:
            await self._hand_over(case)

    async def _call_off(self, case: _Case) -> None:
        """Hand nothing over; what a vendor has taken without our noting it is called off there."""
        vendor_id = await self._taken_before(case)
        if vendor_id is None:
            was = "the job was cancelled" if case.is_unwanted else "there was no time"
            self._close(case, "given_up", f"not handed over: {was}")
            return
        with self._sessions.begin() as session:
            offloads.taken(session, case.id, vendor_id, look_in=timedelta(0))

    async def _hand_over(self, case: _Case) -> None:
        vendor_id = await self._taken_before(case)
        if vendor_id is None:
            with self._sessions() as session:
                goods = Consignment(session, case.job, case.offload)
                lines = goods.pack(case.vendor, min(case.vendor.max_bytes, MOST_BYTES))
            if not lines:
                self._close(case, "ended")
                return
            with self._sessions.begin() as session:
                offloads.hand_over(session, case.id, goods.packed, len(lines))
            vendor_id = await case.vendor.submit(goods.mark, lines)
            reach(Point.AFTER_HAND_OVER)
        with self._sessions.begin() as session:
            offloads.taken(session, case.id, vendor_id, look_in=self._poll)
            offloads.start(session, case.job.id)

    async def _taken_before(self, case: _Case) -> str | None:
        """Find the batch at the vendor if it was handed over, and not noted.

        As it was then: packed again, it may hold less, for some of it is recorded by now.
        """
        offload = case.offload
        if offload.handed_over_at is None:
            return None
        with self._sessions() as session:
            others = offloads.others(session, offload)
        mark = Consignment.mark_of(offload.id)
        age = case.now - offload.handed_over_at
        found = await case.vendor.find(mark, age, offload.n_requests)
        return next((vendor_id for vendor_id in found if vendor_id not in others), None)

    async def _look(self, case: _Case, vendor_id: str) -> None:
        if case.is_unwanted or case.is_running_late:
            await _cancel(case.vendor, vendor_id)
        look = await case.vendor.look(vendor_id)
        if look.error is not None:
            self._close(case, "given_up", look.error)
        elif look.ended:
            await self._harvest(case, vendor_id)
        elif case.is_late or (case.is_unwanted and case.job.finished_at is not None):
            self._give_up(case)
        else:
            self._wait(case)

    async def _harvest(self, case: _Case, vendor_id: str) -> None:
        """Record what came; whatever has no answer is left to be asked online."""
        with self._sessions() as session:
            goods = Consignment(session, case.job, case.offload)
        records: list[CellRecord] = []
        try:
            async for answered in case.vendor.results(vendor_id):
                records += self._record(goods, answered)
                if len(records) >= RECORDED_AT_ONCE:
                    self._store(records)
                    records = []
        except NotOursError:
            with self._sessions.begin() as session:
                offloads.mistaken(session, case.id)
            return
        self._store(records)
        self._close(case, "ended")

    def _record(self, goods: Consignment, answered: BatchAnswer) -> list[CellRecord]:
        record = goods.unpack(answered)
        return [] if record is None else [record]

    def _store(self, records: list[CellRecord]) -> None:
        with self._sessions.begin() as session:
            recording.record(session, records)

    def _give_up(self, case: _Case) -> None:
        """Leave the vendor with what it has: it may bill what is now asked online as well."""
        with self._sessions.begin() as session:
            goods = Consignment(session, case.job, case.offload)
            recording.add_calls(session, goods.calls_nobody_saw_the_end_of())
            offloads.close(session, case.offload, "given_up", "not answered in time")

    def _close(self, case: _Case, state: str, error: str | None = None) -> None:
        with self._sessions.begin() as session:
            offloads.close(session, case.offload, state, error)
        if case.job.finished_at is None:
            log.info("offload %s", state, extra={"offload": case.id, "error": error})

    def _wait(self, case: _Case) -> None:
        with self._sessions.begin() as session:
            offloads.wait(session, case.id, self._poll)

    def _stumbled(self, offload_id: str, error: Exception) -> None:
        """Try again later, unless that cannot help."""
        with self._sessions.begin() as session:
            offload = offloads.get(session, offload_id)
            is_hopeless = isinstance(error, PermanentError) and offload.vendor_id is None
            is_over = offloads.clock(session) >= offload.deadline
            if is_hopeless or is_over or offload.n_steps >= MAX_FAULTS:
                self._abandon(session, offload, repr(error))
            else:
                offloads.wait(session, offload_id, self._poll, repr(error))

    def _abandon(self, session: Session, offload: Offload, reason: str) -> None:
        if offload.handed_over_at is not None and offload.vendor_id is not None:
            goods = Consignment(session, jobs.get(session, offload.job_id), offload)
            recording.add_calls(session, goods.calls_nobody_saw_the_end_of())
        offloads.close(session, offload, "given_up", reason)


@asynccontextmanager
async def _transport() -> AsyncIterator[Transport]:
    transport = DirectTransport()
    try:
        yield transport
    finally:
        await transport.close()


async def _cancel(vendor: VendorBatches, vendor_id: str) -> None:
    try:
        await vendor.cancel(vendor_id)
    except GatewayError as error:  # it may have ended already
        log.info("the vendor does not cancel", extra={"error": error.message[:300]})
