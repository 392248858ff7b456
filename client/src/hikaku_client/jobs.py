"""A job in Python: wait for it, read its results, stop it, try its failures again."""

import os
import shlex
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, cast

from typing_extensions import override

from hikaku_client import consoles, frames, progress, text
from hikaku_client.comparison import Comparison
from hikaku_client.connection import Connection
from hikaku_client.errors import InvalidRequest, NotReachable, WaitTimeout
from hikaku_client.progress import Display, Silence
from hikaku_client.servers import Server
from hikaku_client.wire import (
    FAILED_OUTCOMES,
    FINAL_STATES,
    CellAnswer,
    ComparisonAnswer,
    Counts,
    JobAnswer,
    Json,
)
from hikaku_client.words import Words

if TYPE_CHECKING:  # pandas is optional, so its types are too
    from pandas import DataFrame

FIRST_PAUSE = 0.25
"""Seconds before the first look at a job that was not ended; later ones grow."""

LONGEST_PAUSE = 2.0
"""Seconds between two looks at most."""

PATIENCE = 120.0
"""Seconds a server may be gone (a restart) before waiting gives up."""

Format = Literal["jsonl", "csv"]


class Job:
    """A batch evaluation job on the server; what it shows is as of the last `refresh()`."""

    def __init__(self, connection: Connection, answer: JobAnswer, words: Words) -> None:
        self._connection = connection
        self._words = words
        self.answer = answer

    @property
    def id(self) -> str:
        """`job_...`; `client.job(id)` finds it again from anywhere."""
        return self.answer["id"]

    @property
    def name(self) -> str:
        """Its name, or its id when it has none."""
        return self.answer["name"] or self.id

    @property
    def state(self) -> str:
        """queued, running, completed, completed_with_errors, failed, cancelled, ..."""
        return self.answer["state"]

    @property
    def counts(self) -> Counts:
        """Cells per outcome."""
        return self.answer["counts"]

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens without a new request."""
        return self.state in FINAL_STATES

    @property
    def error_rate(self) -> float:
        """Share of the cells without a result: failed, cancelled, or never run."""
        counts = self.counts
        lost = counts["failed"] + counts["pending"] + counts.get("cancelled", 0)
        return lost / counts["total"] if counts["total"] else 0.0

    def refresh(self) -> Self:
        """Look again."""
        self.answer = _job(self._connection.get(f"/jobs/{self.id}"))
        return self

    def wait(self, *, progress: bool = True, timeout: float | None = None) -> Self:
        """Wait for the end, showing how far it is.

        Ctrl-C ends the waiting, not the job: it says how to come back and raises on.

        Args:
            progress: Show bars in a terminal and a plain line now and then elsewhere, on stderr.
            timeout: Seconds to wait at most.

        Raises:
            WaitTimeout: The time is over; the job goes on.
        """
        try:
            return self.follow(self._display() if progress else Silence(), timeout=timeout)
        except KeyboardInterrupt:
            line = f"{self._words.detached}\n  client.job({self.id!r}).wait()\n  {self.comeback}"
            consoles.messages().print(f"\n{line}")
            raise

    def follow(self, display: Display, *, timeout: float | None = None) -> Self:
        """Wait for the end, showing each look at the job on `display`.

        Raises:
            WaitTimeout: The time is over; the job goes on.
        """
        clock, pause = self._connection.clock, FIRST_PAUSE
        deadline = None if timeout is None else clock.now() + timeout
        with display:
            display.show(self.answer)
            while not self.is_final:
                if deadline is not None and clock.now() >= deadline:
                    raise WaitTimeout(self._words.timed_out.format(seconds=f"{timeout:g}"))
                clock.sleep(pause)
                self._look(display)
                pause = min(pause * 1.2, LONGEST_PAUSE)
        return self

    def cells(
        self,
        *,
        outcome: str | Sequence[str] | None = None,
        endpoint: str | None = None,
        failed: bool = False,
    ) -> Iterator[CellAnswer]:
        """Go through the recorded cells, page by page; with `failed` only those that failed."""
        query = {"outcome": FAILED_OUTCOMES if failed else outcome, "endpoint": endpoint}
        for cell in self._connection.pages(f"/jobs/{self.id}/cells", query):
            yield cast("CellAnswer", cell)

    def results(self) -> "DataFrame":
        """Every recorded cell as a pandas frame: `input.NAME`, `score.NAME`, one row a cell."""
        return frames.cells(self.cells())

    def compare(self, baseline: str | None = None) -> Comparison:
        """Hold the job's endpoints against one of them; its own baseline if left out."""
        return compare(self._connection, [self.id], baseline, self._words)

    def cancel(self) -> Self:
        """Start no new call; those in flight are finished and kept."""
        self.answer = _job(self._connection.post(f"/jobs/{self.id}/cancel"))
        return self

    def retry_failed(self, outcomes: Sequence[str] | None = None) -> Self:
        """Run the failed cells again, all or those with these outcomes."""
        body: dict[str, Json] = {} if outcomes is None else {"outcomes": list(outcomes)}
        answer = self._connection.post(f"/jobs/{self.id}/retry-failed", body, once=True)
        self.answer = _job(answer)
        return self

    def export(
        self,
        path: str | os.PathLike[str],
        format: Format | None = None,  # noqa: A002 - as the API says
        *,
        excel: bool = False,
    ) -> Path:
        """Write every cell to a file, which appears only when it is complete.

        Args:
            path: Where to; `.csv` makes CSV, anything else JSON Lines.
            format: Overrides what the name says.
            excel: CSV with a byte order mark and formulas made harmless.
        """
        target = Path(path)
        part = target.with_name(f".{target.name}.part")
        try:
            with part.open("wb") as file:
                for chunk in self.export_chunks(format or _format(target), excel=excel):
                    file.write(chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def export_chunks(self, format: Format, *, excel: bool = False) -> Iterator[bytes]:  # noqa: A002 - as the API says
        """The same, piece by piece."""
        if excel and format != "csv":
            raise InvalidRequest("excel=True goes with CSV")
        query = {"format": format, "excel": "true" if excel else None}
        with self._connection.stream(f"/jobs/{self.id}/export", query) as chunks:
            yield from chunks

    @property
    def comeback(self) -> str:
        """The command line that shows this job again."""
        return command(self._connection.server, "watch", self.id)

    @override
    def __repr__(self) -> str:
        return f"<Job {self.id} {progress.summary(self.answer, self._words)}>"

    def _repr_html_(self) -> str:
        facts = progress.summary(self.answer, self._words)
        return f"<b>{escape(text.visible(self.name))}</b> <code>{self.id}</code><br>{escape(facts)}"

    def _display(self) -> Display:
        return progress.choose(consoles.messages(), self._words, now=self._connection.clock.now)

    def _look(self, display: Display) -> None:
        """Refresh, bearing with a server that is away for a while."""
        clock = self._connection.clock
        give_up = clock.now() + PATIENCE
        while True:
            try:
                self.refresh()
            except NotReachable:
                if clock.now() >= give_up:
                    raise
                display.show(self.answer, self._words.reconnecting)
                clock.sleep(LONGEST_PAUSE)
            else:
                display.show(self.answer)
                return


def compare(
    connection: Connection, jobs: Sequence[str], baseline: str | None, words: Words
) -> Comparison:
    """Hold the endpoints of jobs against a baseline: an endpoint, or `JOB:ENDPOINT`."""
    query = {"jobs": ",".join(jobs), "baseline": baseline}
    return Comparison(cast("ComparisonAnswer", connection.get("/comparisons", query)), words)


def command(server: Server, *words: str) -> str:
    """A `hikaku` command line that reaches the same server from here."""
    named = ("--url", server.url) if server.source == "--url" else ()
    return shlex.join(["hikaku", *words, *named])


def _job(answer: Json) -> JobAnswer:
    return cast("JobAnswer", answer)


def _format(path: Path) -> Format:
    return "csv" if path.suffix.lower() == ".csv" else "jsonl"
