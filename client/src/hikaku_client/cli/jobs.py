"""Commands about jobs that were started: list, look, export, stop, try again."""

import sys
from itertools import islice
from pathlib import Path

import click
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from hikaku_client import progress, text
from hikaku_client.cli.app import App, connection_options, json_option, pass_app
from hikaku_client.cli.ending import ended, handed_over, where_to_look
from hikaku_client.jobs import Format, Job
from hikaku_client.wire import CellAnswer, Score

_STYLES = {
    "completed": "green",
    "completed_with_errors": "yellow",
    "failed": "red",
    "cancelled": "dim",
    "running": "cyan",
}


def table(*headers: str) -> Table:
    """An empty table in the house's manner."""
    made = Table(box=SIMPLE_HEAD, header_style="dim", show_edge=False)
    for header in headers:
        made.add_column(header, overflow="fold")
    return made


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--state", help="Only jobs in this state.")
@click.option("--project", help="Only jobs of this project.")
@json_option
@connection_options
@pass_app
def jobs(app: App, *, limit: int, state: str | None, project: str | None, as_json: bool) -> None:
    """List jobs, newest first."""
    found = list(islice(app.client.jobs(state=state, project=project), limit))
    if as_json:
        for job in found:
            app.json(job.answer)
        return
    if not found:
        app.say(app.words.none)
        return
    words = app.words
    listing = table(words.job, words.name, words.state, words.progress, words.created)
    listing.columns[0].no_wrap = True
    for job in found:
        listing.add_row(*_line(app, job))
    app.print(listing)


def _line(app: App, job: Job) -> list[Text]:
    counts = job.counts
    cells = Text(f"{counts['done']:,}/{counts['total']:,}")
    if counts["failed"]:
        cells.append(f"  {app.words.failed.format(failed=counts['failed'])}", style="bold red")
    return [
        Text(job.id),
        Text(text.visible(job.answer["name"] or "")),
        Text(app.words.states.get(job.state, job.state), style=_STYLES.get(job.state, "")),
        cells,
        Text(text.instant(job.answer["created_at"]), style="dim"),
    ]


@click.command()
@click.argument("job")
@json_option
@connection_options
@pass_app
def show(app: App, *, job: str, as_json: bool) -> None:
    """Show where JOB stands, what it runs and where its results are."""
    found = app.client.job(job)
    if as_json:
        app.json(found.answer)
        return
    app.print(Text(ended(app, found), style="bold"), "")
    app.print(_facts(app, found), "")
    app.print(progress.picture(found.answer, app.words, per_endpoint=True), "")
    if error := found.answer.get("error"):
        app.print(Text(text.visible(error), style="bold red"), "")
    app.print(where_to_look(app, found))


def _facts(app: App, job: Job) -> Table:
    answer, words = job.answer, app.words
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(words.job, job.id)
    grid.add_row(words.created, text.instant(answer["created_at"]))
    if "dataset" in answer:
        dataset = answer["dataset"]
        name = f"{dataset['name'] or dataset['id']} · {words.rows} {text.count(dataset['n_rows'])}"
        grid.add_row(words.dataset, text.visible(name))
    scorers = ", ".join(scorer["name"] for scorer in answer.get("scorers", []))
    grid.add_row(words.scorers, text.visible(scorers) or text.UNKNOWN)
    grid.add_row(words.repeats, str(answer.get("repeats", 1)))
    grid.add_row(words.cost, _cost(app, job))
    if batches := answer.get("vendor_batches"):
        grid.add_row(words.vendor_batches, handed_over(app, batches))
    if budget := answer.get("budget"):
        grid.add_row(words.budget, words.budget_of.format(**budget))
    if (foreseen := answer.get("estimate")) and (cost := foreseen["cost_usd"]) is not None:
        grid.add_row("", words.estimated.format(**cost))
    if answer.get("paused_for"):
        left = answer["counts"].get("budget_skipped", 0)
        grid.add_row("", words.unpaid.format(left=text.count(left), id=job.id))
    if tokens := answer.get("tokens"):
        both = f"{text.count(tokens['input'])} / {text.count(tokens['output'])}"
        grid.add_row(words.tokens_in_out, both)
    return grid


def _cost(app: App, job: Job) -> str:
    """What is known of the cost, and whether it is all of it."""
    cost, unknown = job.answer.get("cost_usd"), job.answer.get("cost_unknown_calls", 0)
    if not unknown:
        return text.money(cost)
    line = app.words.cost_unknown if cost is None else app.words.cost_at_least
    return line.format(amount=text.money(cost), calls=text.count(unknown))


@click.command()
@click.argument("job")
@click.option("--failed", is_flag=True, help="Only cells that failed.")
@click.option("--outcome", help="Only cells that ended so.")
@click.option("--endpoint", help="Only cells of this endpoint.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True)
@click.option("--all", "everything", is_flag=True, help="All of them.")
@json_option
@connection_options
@pass_app
def cells(
    app: App,
    *,
    job: str,
    failed: bool,
    outcome: str | None,
    endpoint: str | None,
    limit: int,
    everything: bool,
    as_json: bool,
) -> None:
    """Show what JOB's endpoints answered, row by row, with the scores."""
    if failed and outcome:
        raise click.UsageError("--failed and --outcome do not go together")
    answers = app.client.job(job).cells(outcome=outcome, endpoint=endpoint, failed=failed)
    if as_json:
        for cell in answers if everything else islice(answers, limit):
            app.json(cell)
        return
    shown = list(answers if everything else islice(answers, limit + 1))
    if not shown:
        app.say(app.words.none)
        return
    app.print(_cell_table(app, shown if everything else shown[:limit]))
    if not everything and len(shown) > limit:
        app.say(app.words.more.format(shown=limit))


def _cell_table(app: App, shown: list[CellAnswer]) -> Table:
    words = app.words
    listing = table(words.row, words.endpoint, words.outcome, words.completion, words.scores)
    listing.columns[0].justify = "right"
    for cell in shown:
        problem = cell.get("error")
        answer = Text(text.one_line(problem), style="red") if problem else Text()
        if (completion := cell.get("completion")) is not None:
            answer = Text(text.one_line(completion))
        scores = cell.get("scores", {})
        listing.add_row(
            str(cell["row"]),
            Text(text.visible(cell["endpoint"])),
            Text(cell["outcome"], style="" if cell["outcome"] == "ok" else "yellow"),
            answer,
            Text("\n".join(_score(name, score) for name, score in scores.items())),
        )
    return listing


def _score(name: str, score: Score) -> str:
    value = score["value"]
    shown = f"{value:g}" if value is not None else f"{text.UNKNOWN} {score.get('unscored') or ''}"
    return text.visible(f"{name} {shown}".rstrip())


@click.command()
@click.argument("job")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Else stdout."
)
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), help="Else by the name.")
@click.option("--excel", is_flag=True, help="CSV that Excel opens rightly and runs nothing from.")
@connection_options
@pass_app
def export(app: App, *, job: str, output: Path | None, form: Format | None, excel: bool) -> None:
    """Write every cell of JOB to a file."""
    found = app.client.job(job)
    if output is None:
        for chunk in found.export_chunks(form or "jsonl", excel=excel):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    written = found.export(output, form, excel=excel)
    app.say(app.words.saved.format(path=written, size=text.size(written.stat().st_size)))


@click.command()
@click.argument("job")
@json_option
@connection_options
@pass_app
def cancel(app: App, *, job: str, as_json: bool) -> None:
    """Stop JOB: no new call starts, and what was recorded is kept."""
    found = app.client.job(job)
    was_cancelled = found.state == "cancelled"
    found.cancel()
    if as_json:
        app.json(found.answer)
    else:
        line = app.words.was_cancelled if was_cancelled else app.words.cancelled
        app.say(line.format(name=text.visible(found.name)))
