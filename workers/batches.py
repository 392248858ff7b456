"""Goes on with a batch: reads its file into a job, and writes what came of the job into files.

Every step is one transaction, and Postgres says which one is next: a process that dies in one
leaves it undone, and the sweep has it done again.
"""

import logging
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from sqlalchemy.orm import Session

from hikaku.batches import BatchState, Check, LineFault, RequestReader
from hikaku.errors import InvalidInput, NotFound
from hikaku.failpoints import Point, reach
from hikaku.jobs import Hint
from hikaku.queue import Queue
from hikaku.specs import DatasetRef, EndpointIdentity, JobSpec, PromptRef, RequestPath, Reuse
from hikaku.storage import batches, datasets, files, jobs, responses
from hikaku.storage.batches import Written
from hikaku.storage.connection import Sessions
from hikaku.storage.datasets import Revision
from hikaku.storage.responses import Answered
from hikaku.storage.tables import Batch
from hikaku.submission import submit
from workers.batch_files import BatchFiles
from workers.database import DATABASE_ERRORS
from workers.schedules import Endpoints

log = logging.getLogger(__name__)

PRIORITY = 7
"""Of a batch's job: whoever sends a batch can wait."""

PAGE = 200
"""Answers read at once when files are written."""


class Batches:
    """Goes on with batches, one step after the other."""

    def __init__(self, sessions: Sessions, queue: Queue, endpoints: Endpoints) -> None:
        self._sessions = sessions
        self._queue = queue
        self._endpoints = endpoints

    def go_on(self, batch_id: str) -> None:
        """Do what is to be done with a batch now; nothing, if somebody else does."""
        try:
            while self._step(batch_id):
                pass
        except DATABASE_ERRORS:
            raise  # the sweep comes by again
        except Exception as error:
            log.exception("batch stumbled", extra={"batch": batch_id})
            with self._sessions.begin() as session:
                batches.stumble(session, batch_id, repr(error))

    def _step(self, batch_id: str) -> bool:
        """Do one step; False when there is none to follow at once."""
        with self._sessions() as session:
            state = BatchState(batches.get(session, batch_id).state)
        match state:
            case BatchState.VALIDATING:
                self._read(batch_id)
                return False
            case BatchState.IN_PROGRESS:
                with self._sessions.begin() as session:
                    batches.finalize(session, batch_id)
                return True
            case BatchState.FINALIZING | BatchState.CANCELLING:
                self._write(batch_id)
                return False
            case _:  # it has ended
                return False

    def _read(self, batch_id: str) -> None:
        """Make a job of the requests in the file of a batch, or refuse it."""
        known = self._endpoints()
        with self._sessions.begin() as session:
            if not batches.claim(session, batch_id):
                return
            batch = batches.get(session, batch_id)
            reader = RequestReader(RequestPath(batch.path), _check_of(known, batch))
            reading = session.begin_nested()
            revision = self._stored(session, batch, reader)
            hints = revision and self._submitted(session, batch, reader, revision, known)
            if hints is None:
                reading.rollback()
                batches.refuse(session, batch_id, reader.faults)
        self._queue.put_shards(hints or ())

    def _stored(self, session: Session, batch: Batch, reader: RequestReader) -> Revision | None:
        """Store the requests as rows; None when the file is refused."""
        try:
            name = files.get(session, batch.input_file_id).name
            rows = reader.rows(files.content(self._sessions, batch.input_file_id))
            revision = datasets.store(session, rows, name=None, source=name).revision
        except (InvalidInput, NotFound) as error:
            if not reader.faults:
                fault = LineFault(code="invalid_file", message=str(error), param="input_file_id")
                reader.faults.append(fault)
            return None
        return None if reader.faults else revision

    def _submitted(
        self,
        session: Session,
        batch: Batch,
        reader: RequestReader,
        revision: Revision,
        known: Mapping[str, EndpointIdentity],
    ) -> tuple[Hint, ...] | None:
        """Submit the job of a batch; None when the batch was cancelled meanwhile."""
        model = reader.model or ""
        spec = JobSpec(
            name=f"{batch.id} {revision.source}"[:200],
            prompt=PromptRef(request=RequestPath(batch.path)),
            dataset=DatasetRef(id=revision.id),
            endpoints=(model,),
            reuse=Reuse.OFF,
            priority=PRIORITY,
            tags={"batch": batch.id},
        )
        submitted = submit(session, spec, known)
        total, job_id = reader.n_requests, submitted.job_id
        is_wanted = batches.run(session, batch.id, job_id=job_id, model=model, n_total=total)
        return submitted.hints if is_wanted else None

    def _write(self, batch_id: str) -> None:
        """Write what came of a batch into its files, and close it."""
        with self._sessions.begin() as session:
            if not batches.claim(session, batch_id):
                return
            batch = batches.get(session, batch_id)
            if BatchState(batch.state).is_final or not _has_ended(session, batch):
                return
            batches.end(session, batch, _write_files(session, batch))
            reach(Point.IN_WRITE_BATCH)


def _check_of(known: Mapping[str, EndpointIdentity], batch: Batch) -> Check:
    wanted = RequestPath(batch.path).endpoint_type

    def check(model: str) -> str | None:
        found = known.get(model)
        if found is None:
            near = get_close_matches(model, known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            return f"The model '{model}' does not exist: it must name an endpoint.{hint}"
        if found.endpoint_type != wanted:
            return f"The model '{model}' is {found.endpoint_type}; {batch.path} needs {wanted}."
        return None

    return check


def _has_ended(session: Session, batch: Batch) -> bool:
    return batch.job_id is None or jobs.get(session, batch.job_id).finished_at is not None


def _write_files(session: Session, batch: Batch) -> Written:
    into = BatchFiles(session, batch)
    for answered in _answers(session, batch):
        into.write(answered)
    return into.written()


def _answers(session: Session, batch: Batch) -> Iterator[Answered]:
    if batch.job_id is None:  # cancelled before it was read
        return
    job, after = jobs.get(session, batch.job_id), None
    while page := responses.page(session, job, after=after, limit=PAGE):
        yield from page
        after = page[-1].row
