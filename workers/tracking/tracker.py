"""Takes a job from the outbox to MLflow, and says in the outbox how it went."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from hikaku import ids
from hikaku.comparison import compare
from hikaku.jobs import JobState
from hikaku.settings import Settings
from hikaku.storage import comparisons, jobs, results, tracking
from hikaku.storage.connection import Sessions
from hikaku.storage.tables import Job
from hikaku.storage.tracking import Tracked
from workers.tracking.errors import Untracked
from workers.tracking.mapping import child_content, parent_content
from workers.tracking.prompt import template_json, template_text
from workers.tracking.runs import Runs, without_credentials
from workers.tracking.subject import TrackedJob
from workers.tracking.table import FILE, write_table

log = logging.getLogger(__name__)


class Tracker:
    """Writes jobs to MLflow; without a tracking URI it leaves them in the outbox, untouched."""

    def __init__(self, settings: Settings, sessions: Sessions) -> None:
        self._uri = settings.mlflow_tracking_uri
        self._experiment = settings.mlflow_experiment
        self._public_url = _public_url(settings)
        pages = settings.mlflow_public_url or without_credentials(self._uri or "")
        self._pages = pages.rstrip("/")
        self._sessions = sessions

    def track(self, job_id: str) -> None:
        """Write an ended job whole; when MLflow does not take it, note why.

        Safe to repeat and to run at once: one process at a time writes a job, and finds the runs
        that an earlier one left half-way.

        Raises:
            NotFound: There is no such job.
            ValueError: This is not the id of a job.
        """
        if self._uri is None:
            return
        with self._sessions.begin() as session:
            if not _taken(session, job_id):
                return
            job, line = jobs.get(session, job_id), tracking.get(session, job_id)
            if line is None or not _is_due(job, line.state):
                return
            tries = line.tries
            try:
                tracked = self._write(session, job, self._uri)
            except Untracked as error:
                log.warning("not tracked yet", extra={"job": job_id, "error": str(error)[:300]})
                tracking.failed(session, job_id, str(error))
                return
            if _is_unchanged(session, job):
                tracking.done(session, job_id, tracked, tries=tries)
                log.info("tracked", extra={"job": job_id, "run": tracked.run_id})

    def _write(self, session: Session, job: Job, uri: str) -> Tracked:
        subject = _read(session, job, f"{self._public_url}/api/v1/jobs/{job.id}")
        runs = Runs(uri, self._experiment, subject)
        parent = runs.parent()
        for position, endpoint in enumerate(subject.snapshot.endpoints):
            run = runs.child(endpoint.name, parent)
            with _artifacts(subject) as folder:
                cells = results.stream(session, job, endpoint=position)
                rows = write_table(folder / FILE, subject.snapshot, cells)
                runs.write(run, child_content(subject, position, table_rows=rows), folder)
        with _artifacts(subject) as folder:
            content = parent_content(subject, compare_url=runs.compare_url(parent))
            runs.write(parent, content, folder)
        return Tracked(run_id=parent, url=self._pages + runs.path(parent))


def _read(session: Session, job: Job, url: str) -> TrackedJob:
    snapshot = jobs.snapshot(job)
    columns = comparisons.column_scores(session, job)
    return TrackedJob(
        id=job.id,
        name=job.name,
        state=JobState(job.state),
        round=job.round,
        started_at=job.started_at or job.created_at,
        finished_at=job.finished_at or job.created_at,
        url=url,
        snapshot=snapshot,
        progress=jobs.progress(session, [job.id]).get(job.id, jobs.Progress()).endpoints,
        columns=compare(columns, baseline=f"{job.id}:{snapshot.baseline}").columns,
    )


@contextmanager
def _artifacts(job: TrackedJob) -> Iterator[Path]:
    """Make a folder with what every run of a job gets, for as long as it is needed."""
    with TemporaryDirectory(prefix="hikaku-") as name:
        folder = Path(name)
        (folder / "prompt.txt").write_text(template_text(job.snapshot), "utf-8", newline="")
        (folder / "prompt.json").write_text(template_json(job.snapshot), "utf-8", newline="")
        yield folder


def _public_url(settings: Settings) -> str:
    if settings.public_url is not None:
        return settings.public_url.rstrip("/")
    host = "127.0.0.1" if settings.host in {"", "0.0.0.0", "::"} else settings.host  # noqa: S104
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _taken(session: Session, job_id: str) -> bool:
    """Take a job for this transaction; False if another process is writing it."""
    key = int.from_bytes(ids.decode(ids.JOB, job_id).bytes[8:], signed=True)
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(key))))


def _is_due(job: Job, state: str) -> bool:
    """Whether the job is to be written now; one that was retried is when it has ended again."""
    return state == tracking.PENDING and JobState(job.state).is_final


def _is_unchanged(session: Session, job: Job) -> bool:
    """Whether the job still is what was written, and stays so until the commit."""
    ended = select(Job.finished_at).where(Job.id == job.id).with_for_update()
    return session.scalar(ended) == job.finished_at
