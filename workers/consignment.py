"""Packs the open cells of an offload for the vendor, and unpacks what comes back."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy.orm import Session

from gateway.errors import GatewayError, PermanentError
from gateway.providers.batching import BatchAnswer, VendorBatches
from gateway.types import JSON, Answer
from hikaku.errors import InvalidInput
from hikaku.jobs import (
    Attempt,
    AttemptOutcome,
    Cell,
    CellAddress,
    CellCalls,
    CellRecord,
    Outcome,
    failure,
    kept,
)
from hikaku.pricing import tariff
from hikaku.storage import completions, jobs
from hikaku.storage.completions import RequestHash
from hikaku.storage.tables import Job, Offload, Shard
from hikaku.storage.work import Work, left_to_do
from hikaku.templates import Message
from workers.judging import judged, judges
from workers.ledger import keepable
from workers.requests import template_of

MOST_BYTES = 64 * 2**20
"""Of one batch: below every vendor's limit, and what a process holds of it."""

_OK = 200
_MARK_CHARACTERS = 16
_PARTS = 3


class NotOursError(Exception):
    """The results are of somebody else's batch."""


class Consignment:
    """The cells of one offload that have no result yet."""

    def __init__(self, session: Session, job: Job, offload: Offload) -> None:
        self.mark = self.mark_of(offload.id)
        self.packed: list[int] = []
        """Shards whose cells are in the lines."""
        self._job, self._offload, self._session = job, offload, session
        self._snapshot = jobs.snapshot(job)
        self._endpoint = self._snapshot.endpoints[offload.endpoint]
        self._template = template_of(self._snapshot)
        self._tariff = tariff(self._endpoint)
        self._factor = self._endpoint.batch_price_factor or Decimal(1)
        self._judges = judges(self._snapshot)
        reuse = self._snapshot.reuse
        self._buys_once = reuse.reads and reuse.writes
        self._hashes = RequestHash(self._endpoint) if reuse.reads or reuse.writes else None
        self._work = {shard_id: left_to_do(session, shard_id) for shard_id in offload.shards}
        self._places = {
            (work.row, cell.repeat): (shard_id, work)
            for shard_id, works in self._work.items()
            for work in works
            for cell in work.cells
        }

    @staticmethod
    def mark_of(offload_id: str) -> str:
        """Give what stands before the ids of all requests of an offload."""
        return offload_id[-_MARK_CHARACTERS:]

    def pack(self, vendor: VendorBatches, most_bytes: int) -> list[bytes]:
        """Write whole shards until the vendor's limits; the rest is for another batch.

        Cells that need no call of their own are left out: they are answered without one when the
        batch has ended, and asked online should nothing answer them.
        """
        packed: list[bytes] = []
        bought: set[bytes] = set()
        size = 0
        for shard_id, works in self._work.items():
            of_shard = set(bought)
            lines = list(self._lines(vendor, works, of_shard))
            more = sum(len(line) + 1 for line in lines)
            is_full = len(packed) + len(lines) > vendor.max_requests or size + more > most_bytes
            if packed and is_full:
                break
            self.packed.append(shard_id)
            if not is_full:  # a shard too large for the vendor is asked online
                packed += lines
                size += more
                bought = of_shard
        return packed

    def unpack(self, answered: BatchAnswer) -> CellRecord | None:
        """Make the record of a cell; None when it has one, or is better asked again.

        Raises:
            NotOursError: It bears another mark.
        """
        parts = answered.custom_id.split("-")
        if len(parts) != _PARTS or parts[0] != self.mark:
            raise NotOursError
        place = self._places.get((int(parts[1]), int(parts[2])))
        if place is None:
            return None
        shard_id, work = place
        address = self._address(shard_id, Cell(row=work.row, repeat=int(parts[2])))
        if answered.answer is not None:
            return self._answered(address, work, answered.answer)
        if isinstance(answered.error, PermanentError):
            return self._refused(address, answered.error)
        return None

    def calls_nobody_saw_the_end_of(self) -> list[CellCalls]:
        """Give the calls that the vendor may still make, and bill.

        Also of cells that were asked online meanwhile; what the vendor has answered is in the
        ledger already, under the same key, and stays as it is.
        """
        unknown = Attempt(
            number=1, outcome=AttemptOutcome.UNKNOWN, started_at=self._handed_over_at()
        )
        return [
            CellCalls(address=self._address(shard_id, cell), attempts=(unknown,))
            for shard_id in self._offload.shards
            for cell in self._cells_of(shard_id)
        ]

    def _cells_of(self, shard_id: int) -> Iterator[Cell]:
        shard = self._session.get_one(Shard, shard_id)
        for row in range(shard.row_from, shard.row_to):
            for repeat in range(shard.repeat_from, shard.repeat_to):
                yield Cell(row=row, repeat=repeat)

    def _lines(
        self, vendor: VendorBatches, works: list[Work], bought: set[bytes]
    ) -> Iterator[bytes]:
        """Write the cells that nobody buys yet, and add them to those that are bought."""
        params: dict[str, JSON] = self._endpoint.params.model_dump(exclude_none=True)
        cells = list(self._rendered(works))
        known = self._known([digest for *_, digest in cells if digest is not None])
        for cell, messages, digest in cells:
            if digest is not None and (digest in known or digest in bought):
                continue  # answered online without any call
            said: JSON = [{"role": m.role, "content": m.content} for m in messages]
            custom_id = f"{self.mark}-{cell.row}-{cell.repeat}"
            try:
                line = vendor.line(custom_id, {**params, "messages": said})
            except GatewayError:
                continue
            if digest is not None and self._buys_once:
                bought.add(digest)
            yield line

    def _rendered(
        self, works: list[Work]
    ) -> Iterator[tuple[Cell, tuple[Message, ...], bytes | None]]:
        """Render cells, with the hashes of their completions."""
        for work in works:
            try:
                messages = self._template.render(work.variables, row=work.row)
            except InvalidInput:
                continue  # asked online, it fails there in its own words
            for cell in work.cells:
                yield cell, messages, self._hash(messages, cell.repeat)

    def _known(self, hashes: list[bytes]) -> set[bytes]:
        """Tell which cells are recorded, or are being asked online by a job that records them."""
        if not hashes or not self._snapshot.reuse.reads:
            return set()
        known = completions.known_of(self._session, hashes)
        if self._buys_once:
            known |= completions.being_bought(self._session, hashes)
        return known

    def _hash(self, messages: tuple[Message, ...], repeat: int) -> bytes | None:
        if self._hashes is None:
            return None
        return self._hashes.of([(m.role, m.content) for m in messages], repeat)

    def _address(self, shard_id: int, cell: Cell) -> CellAddress:
        return CellAddress(
            job_id=self._job.id, bucket=self._job.bucket, endpoint=self._offload.endpoint,
            row=cell.row, repeat=cell.repeat, round=0, shard_id=shard_id, epoch=0,
        )  # fmt: skip

    def _handed_over_at(self) -> datetime:
        return self._offload.handed_over_at or datetime.now(UTC)

    def _answered(self, address: CellAddress, work: Work, answer: Answer) -> CellRecord:
        whole = self._tariff.cost(answer.usage) if self._tariff is not None else None
        cost = None if whole is None else whole * self._factor
        text = answer.refusal or answer.text
        tokens = (answer.usage.input_tokens, answer.usage.output_tokens)
        attempt = Attempt(
            number=1, outcome=AttemptOutcome(answer.outcome), started_at=self._handed_over_at(),
            status=_OK, input_tokens=tokens[0], output_tokens=tokens[1], cost_usd=cost,
        )  # fmt: skip
        outcome = Outcome(answer.outcome)
        if outcome is Outcome.OK and answer.finish_reason == "length":
            outcome = Outcome.TRUNCATED
        scores = (
            tuple(judged(judge, text, work.variables) for judge in self._judges)
            if outcome.is_answered
            else ()
        )
        messages = self._template.render(work.variables, row=work.row)
        writes = self._snapshot.reuse.writes
        return keepable(
            CellRecord(
                address=address, outcome=outcome, recorded_at=datetime.now(UTC), completion=text,
                finish_reason=kept(answer.finish_reason), input_tokens=tokens[0],
                output_tokens=tokens[1], cost_usd=cost, attempts=(attempt,), scores=scores,
                request_hash=self._hash(messages, address.repeat) if writes else None,
            )
        )  # fmt: skip

    def _refused(self, address: CellAddress, error: GatewayError) -> CellRecord:
        attempt = Attempt(
            number=1, outcome=AttemptOutcome(error.outcome), started_at=self._handed_over_at(),
            status=error.status, error=kept(error.message),
        )  # fmt: skip
        said = f"{type(error).__name__}: {error.message}"
        return failure(address, Outcome(error.outcome), said, attempts=(attempt,))
