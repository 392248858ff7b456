"""Following a job to its end, what is shown then, and with which code the command ends."""

from collections.abc import Iterator
from dataclasses import dataclass

import click
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hikaku_client import progress, text
from hikaku_client.cli.app import App, Exit
from hikaku_client.comparison import Comparison
from hikaku_client.errors import NotReachable, WaitTimeout
from hikaku_client.gates import Gate
from hikaku_client.jobs import Job, command
from hikaku_client.wire import VendorBatchesAnswer

MLFLOW_PATIENCE = 10.0
"""Seconds to wait for MLflow after the job has ended; it must not hold anyone up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """When a job's end counts as good, and how long to wait for it."""

    max_error_rate: float = 0.0
    timeout: float | None = None
    gates: tuple[Gate, ...] = ()


def follow(app: App, job: Job, terms: Terms, *, as_json: bool, per_endpoint: bool) -> None:
    """Follow a job to its end, show its comparison, and end the command.

    Raises:
        click.exceptions.Exit: Always; with the code that tells how it went.
    """
    _wait(app, job, terms, per_endpoint=per_endpoint)
    comparison = job.compare()
    if as_json:
        _settle(app, job)
        app.json({"job": job.answer, "comparison": comparison.answer})
    else:
        report(app, job, comparison)
    raise click.exceptions.Exit(_verdict(app, job, comparison, terms))


def report(app: App, job: Job, comparison: Comparison) -> None:
    """Show how a job ended: one line, the comparison, what needs care, where to look."""
    app.print(Text(ended(app, job), style="bold"), "")
    app.print(comparison)
    for note in _notes(app, job):
        app.print(Padding(note, (0, 0, 0, 1)))
    _settle(app, job)
    app.print("", where_to_look(app, job))


def where_to_look(app: App, job: Job) -> Table:
    """Addresses and commands that lead on from here."""
    words, server = app.words, app.client.server
    grid = Table.grid(padding=(0, 3))
    grid.add_column(no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    grid.add_row(Text(words.where, style="bold"), "")
    grid.add_row("  MLflow", _mlflow(app, job))
    grid.add_row(f"  {words.api_docs}", f"{server.url}/docs")
    grid.add_row(f"  {words.answers}", command(server, "cells", job.id))
    if job.counts["failed"]:
        grid.add_row(f"  {words.failed_cells}", command(server, "cells", job.id, "--failed"))
    grid.add_row(f"  {words.export}", command(server, "export", job.id, "-o", "results.csv"))
    return grid


def ended(app: App, job: Job) -> str:
    """A job's end on one line."""
    answer, counts = job.answer, job.counts
    taken = text.elapsed(
        answer.get("started_at") or answer["created_at"], answer.get("finished_at")
    )
    return app.words.ended.format(
        name=text.visible(job.name),
        state=app.words.states.get(job.state, job.state),
        done=text.count(counts["done"]),
        total=text.count(counts["total"]),
        time=text.seconds(taken),
    )


def comeback(app: App, job: Job, message: str) -> None:
    """Say how to see the job again."""
    app.say(f"\n{message}\n  {job.comeback}")


def _wait(app: App, job: Job, terms: Terms, *, per_endpoint: bool) -> None:
    clock = app.clock or app.client.clock
    display = progress.choose(app.err, app.words, now=clock.now, per_endpoint=per_endpoint)
    try:
        job.follow(display, timeout=terms.timeout)
    except KeyboardInterrupt:
        comeback(app, job, app.words.detached)
        raise
    except WaitTimeout as error:
        comeback(app, job, str(error))
        raise click.exceptions.Exit(Exit.TIMEOUT) from error
    except NotReachable:
        comeback(app, job, app.words.detached)
        raise


def _settle(app: App, job: Job) -> None:
    """Give MLflow a moment, so that its address can be shown."""
    clock = app.client.clock
    until = clock.now() + MLFLOW_PATIENCE
    while job.answer.get("mlflow", {"state": "off"})["state"] == "pending" and clock.now() < until:
        clock.sleep(0.5)
        job.refresh()


def _mlflow(app: App, job: Job) -> str:
    link = job.answer.get("mlflow", {"state": "off"})
    match link["state"]:
        case "synced":
            return text.visible(link.get("url") or link.get("run_id") or text.UNKNOWN)
        case "pending":
            reason = text.one_line(link.get("error"))
            line = app.words.mlflow_pending.format(id=job.id)
            return f"{line} ({reason})" if reason else line
        case _:
            return app.words.mlflow_off


def _notes(app: App, job: Job) -> Iterator[Text]:
    answer, counts, words = job.answer, job.counts, app.words
    total = text.count(counts["total"])
    if error := answer.get("error"):
        yield Text(text.visible(error), style="bold red")
    if reused := answer.get("reused", 0):
        yield Text(words.reused.format(reused=text.count(reused), total=total), style="cyan")
    if repeated := answer.get("repeated_calls", 0):
        yield Text(words.repeated.format(repeated=text.count(repeated)), style="yellow")
    if batches := answer.get("vendor_batches"):
        yield Text(f"{words.vendor_batches}: {handed_over(app, batches)}", style="cyan")
    if failed := counts["failed"]:
        lines = [
            words.failures_hint.format(failed=text.count(failed)),
            "  " + command(app.client.server, "cells", job.id, "--failed"),
            "  " + command(app.client.server, "retry-failed", job.id, "--wait"),
        ]
        yield Text("\n".join(lines), style="yellow")


def handed_over(app: App, batches: VendorBatchesAnswer) -> str:
    """Say how far the batches of a job are at its vendors."""
    counted = {name: text.count(n) for name, n in batches.items() if isinstance(n, int)}
    line = app.words.batches.format(**counted)
    reason = text.one_line(batches["error"])
    return f"{line} ({reason})" if reason else line


def _verdict(app: App, job: Job, comparison: Comparison, terms: Terms) -> Exit:
    if job.error_rate > terms.max_error_rate:
        rate, limit = text.percent(job.error_rate), text.percent(terms.max_error_rate)
        app.err.print(app.words.error_rate.format(rate=rate, limit=limit), style="red")
        return Exit.CELLS_FAILED
    broken = [line for gate in terms.gates for line in gate.violations(comparison.answer)]
    for line in broken:
        app.err.print(text.visible(line), style="red")
    return Exit.GATE if broken else Exit.OK
