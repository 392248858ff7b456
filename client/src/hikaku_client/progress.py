"""What is seen of a job while it runs: a live picture in a terminal, plain lines elsewhere."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from hikaku_client import text
from hikaku_client.wire import FAILED_OUTCOMES, Counts, JobAnswer
from hikaku_client.words import Words

LINE_EVERY = 10.0
"""Seconds between plain lines."""

_BAR_WIDTH = 28
_NAME_WIDTH = 40


class Display(Protocol):
    """Something that shows a job again and again."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, job: JobAnswer, note: str | None = None) -> None:
        """Show where the job is; `note` says what is wrong at the moment."""
        ...


def choose(
    console: Console, words: Words, *, now: Callable[[], float], per_endpoint: bool = False
) -> Display:
    """A live picture if the console is a terminal that can redraw, else plain lines."""
    if console.is_terminal and not console.is_dumb_terminal and not console.is_jupyter:
        return Picture(console, words, per_endpoint=per_endpoint)
    return Lines(console, words, now=now)


class Silence:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave nothing behind."""

    def show(self, job: JobAnswer, note: str | None = None) -> None:
        """Show nothing."""


class Lines(Silence):
    """A plain line when something changed, at most every ten seconds, and one at the end."""

    def __init__(self, console: Console, words: Words, *, now: Callable[[], float]) -> None:
        self._console = console
        self._words = words
        self._now = now
        self._due = float("-inf")
        self._last = ""

    @override
    def show(self, job: JobAnswer, note: str | None = None) -> None:
        is_over = job["counts"]["pending"] == 0
        if self._now() < self._due and not is_over:
            return
        line = summary(job, self._words, note)
        if line != self._last:
            print(line, file=self._console.file, flush=True)
            self._last = line
        self._due = self._now() + LINE_EVERY


class Picture:
    """Bars that move, redrawn in place."""

    def __init__(self, console: Console, words: Words, *, per_endpoint: bool) -> None:
        self._words = words
        self._per_endpoint = per_endpoint
        self._live = Live(console=console, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def show(self, job: JobAnswer, note: str | None = None) -> None:
        """Redraw."""
        self._live.update(picture(job, self._words, per_endpoint=self._per_endpoint, note=note))


def picture(
    job: JobAnswer, words: Words, *, per_endpoint: bool, note: str | None = None
) -> RenderableType:
    """Draw a job: its bar, a bar for each endpoint if wanted, and a line of figures."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(max_width=_NAME_WIDTH, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=_BAR_WIDTH)
    grid.add_column(justify="right")
    grid.add_column()
    if per_endpoint:
        for endpoint in job.get("endpoints", []):
            if "counts" in endpoint:
                grid.add_row(*_bar(endpoint["name"], endpoint["counts"], words))
    else:
        grid.add_row(*_bar(job["name"] or job["id"], job["counts"], words))
    style = "yellow" if note else "dim"
    return Group(grid, Text(summary(job, words, note), style=style))


def summary(job: JobAnswer, words: Words, note: str | None = None) -> str:
    """A job's figures on one line."""
    counts = job["counts"]
    facts = [
        words.states.get(job["state"], job["state"]),
        words.done.format(done=text.count(counts["done"]), total=text.count(counts["total"])),
        failures(counts, words),
        _pace(job, words),
        note,
    ]
    return " · ".join(fact for fact in facts if fact)


def failures(counts: Counts, words: Words) -> str:
    """How many failed, and of what."""
    line = words.failed.format(failed=text.count(counts["failed"]))
    kinds = {name: counts.get(name, 0) for name in FAILED_OUTCOMES}
    named = ", ".join(f"{name} {n}" for name, n in kinds.items() if isinstance(n, int) and n)
    return f"{line} ({named})" if named else line


def _bar(name: str, counts: Counts, words: Words) -> tuple[RenderableType, ...]:
    failed = counts["failed"]
    bar = ProgressBar(
        total=max(counts["total"], 1),
        completed=counts["done"],
        width=_BAR_WIDTH,
        complete_style="yellow" if failed else "cyan",
        finished_style="yellow" if failed else "green",
    )
    done = Text(f"{counts['done']:,}/{counts['total']:,}")
    note = Text(words.failed.format(failed=failed), style="bold red") if failed else Text("")
    return Text(text.visible(name)), bar, done, note


def _pace(job: JobAnswer, words: Words) -> str:
    if job["counts"]["pending"] == 0:
        return ""
    if job["state"] == "queued":
        return words.waiting
    rate, left = job.get("rate_per_second"), job.get("eta_seconds")
    facts = []
    if rate:
        facts.append(words.per_second.format(rate=f"{rate:.1f}"))
    if left is not None:
        facts.append(words.left.format(time=text.seconds(left)))
    return " · ".join(facts)
