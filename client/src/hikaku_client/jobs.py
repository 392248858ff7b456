"""A job in Python: wait for it, read its results, stop it, try its failures again."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, cast

from typing_extensions import override

from hikaku_client import consoles, frames, progress, text
from hikaku_client.comparison import Comparison
from hikaku_client.connection import Connection
from hikaku_client.errors import InvalidRequest, NotReachable, WaitTimeout
from hikaku_client.events import Stream
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

LOOK_EVERY = 2.0
"""Seconds after which the whole job is looked at, beside what its stream tells."""

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
        stream = Stream(self._connection, self.id)
        with display:
            display.show(self.answer)
            while not self.is_final:
                left = None if deadline is None else deadline - clock.now()
                if left is not None and left <= 0:
                    raise WaitTimeout(self._words.timed_out.format(seconds=f"{timeout:g}"))
                if stream.is_offered and self._listen(stream, display, left):
                    pause = FIRST_PAUSE
                if not self.is_final:
                    clock.sleep(pause)
                    pause = min(pause * 1.2, LONGEST_PAUSE)
                self._look(display)
        return self

    def _listen(self, stream: Stream, display: Display, left: float | None) -> bool:
        """Show what the stream tells until it ends, breaks, or the time is over.

        Returns:
            Whether it told anything.
        """
        clock = self._connection.clock
        start, told = clock.now(), False
        look_at = start + LOOK_EVERY
        try:
            for moment in stream.moments(patience=left):
                told = True
                self.answer = cast("JobAnswer", {**self.answer, **moment})
                if self.is_final or (left is not None and clock.now() - start >= left):
                    break
                if clock.now() >= look_at:
                    look_at = clock.now() + LOOK_EVERY
                    self._look(display)
                display.show(self.answer)
        except NotReachable:
            return told
        return told

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

    def pause(self) -> Self:
        """Start no new call until it is resumed; calls in flight are finished and kept."""
        self.answer = _job(self._connection.post(f"/jobs/{self.id}/pause"))
        return self

    def resume(self) -> Self:
        """Go on where it was paused."""
        self.answer = _job(self._connection.post(f"/jobs/{self.id}/resume"))
        return self

    def cancel(self) -> Self:
        """Start no new call; those in flight are finished and kept."""
        self.answer = _job(self._connection.post(f"/jobs/{self.id}/cancel"))
        return self

    def retry_failed(
        self,
        outcomes: Sequence[str] | None = None,
        *,
        endpoints: Sequence[str] | None = None,
        cells: Sequence[str] | None = None,
    ) -> Self:
        """Run failed cells again: all, or those with these outcomes, endpoints and cell ids."""
        given = {"outcomes": outcomes, "endpoints": endpoints, "cells": cells}
        body: dict[str, Json] = {k: list(v) for k, v in given.items() if v is not None}
        answer = self._connection.post(f"/jobs/{self.id}/retry-failed", body, once=True)
        self.answer = _job(answer)
        return self

    def top_up(
        self, *, add: float | None = None, limit: float | None = None, resume: bool = True
    ) -> Self:
        """Raise what the job may cost, in USD; one that paused for money goes on.

        Args:
            add: So much on top of its limit; or else
            limit: its limit from now on.
            resume: Let it go on.
        """
        given = {"add_usd": add, "limit_usd": limit}
        body: dict[str, Json] = {key: str(usd) for key, usd in given.items() if usd is not None}
        body["resume"] = resume
        self.answer = _job(self._connection.post(f"/jobs/{self.id}/budget", body, once=True))
        return self

    def rescore(self, scorers: Sequence[str | Mapping[str, object]]) -> "Job":
        """Judge the completions by other scorers, without any call; gives the job that does."""
        named = [{"type": item} if isinstance(item, str) else dict(item) for item in scorers]
        body = cast("Json", {"scorers": named})
        answer = self._connection.post(f"/jobs/{self.id}/rescore", body, once=True)
        return Job(self._connection, _job(answer), self._words)

    def extend(
        self,
        *,
        rows: Sequence[Mapping[str, object]] | None = None,
        dataset: str | None = None,
        endpoints: Sequence[str | Mapping[str, object]] | None = None,
        scorers: Sequence[str | Mapping[str, object]] | None = None,
        repeats: int | None = None,
    ) -> Self:
        """Add to the job; what was asked is not asked again.

        Args:
            rows: Behind those it has.
            dataset: Id or name of a revision that begins with the rows it has.
            endpoints: Names, or `{"name": ..., "params": {...}}`.
            scorers: Types, or `{"type": ..., options}`; they judge also what is recorded.
            repeats: How many it is to have.
        """
        named = None
        if dataset is not None:
            named = {"id" if dataset.startswith("ds_") else "name": dataset}
        given = {
            "rows": rows,
            "dataset": named,
            "endpoints": endpoints,
            "scorers": scorers
            and [{"type": item} if isinstance(item, str) else item for item in scorers],
            "repeats": repeats,
        }
        body = {key: value for key, value in given.items() if value is not None}
        answer = self._connection.post(f"/jobs/{self.id}/extend", cast("Json", body), once=True)
        self.answer = _job(answer)
        return self

    def history(self) -> Iterator[dict[str, Json]]:
        """Go through what happened to the job: its states and every control of it."""
        return self._connection.pages(f"/jobs/{self.id}/history")

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
