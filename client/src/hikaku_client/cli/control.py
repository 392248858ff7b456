"""Commands that control a job that is there: pause, resume, retry, extend."""

import json
from pathlib import Path

import click

from hikaku_client import text
from hikaku_client.cli.app import App, connection_options, json_option, pass_app
from hikaku_client.cli.ending import Terms, follow
from hikaku_client.jobs import Job
from hikaku_client.wire import RETRIED_OUTCOMES


@click.command()
@click.argument("job")
@json_option
@connection_options
@pass_app
def pause(app: App, *, job: str, as_json: bool) -> None:
    """Start no new call of JOB until it is resumed; calls in flight are finished and kept."""
    _shown(app, app.client.job(job).pause(), app.words.pausing, as_json=as_json)


@click.command()
@click.argument("job")
@click.option("--wait", is_flag=True, help="Wait for the end and show the comparison.")
@json_option
@connection_options
@pass_app
def resume(app: App, *, job: str, wait: bool, as_json: bool) -> None:
    """Let JOB go on where it was paused."""
    found = app.client.job(job).resume()
    _going(app, found, app.words.resuming, wait=wait, as_json=as_json)


@click.command()
@click.argument("job")
@click.option(
    "--outcome",
    "outcomes",
    type=click.Choice(RETRIED_OUTCOMES),
    multiple=True,
    help="Only cells that ended so.",
)
@click.option("--endpoint", "endpoints", multiple=True, help="Only cells of this endpoint.")
@click.option("--cell", "cells", multiple=True, help="Only this cell, by its id, as in 0.12.0.")
@click.option("--wait", is_flag=True, help="Wait for the end and show the comparison.")
@json_option
@connection_options
@pass_app
def retry(
    app: App,
    *,
    job: str,
    outcomes: tuple[str, ...],
    endpoints: tuple[str, ...],
    cells: tuple[str, ...],
    wait: bool,
    as_json: bool,
) -> None:
    """Run JOB's failed cells again, or those that fit all options; old attempts are kept."""
    found = app.client.job(job).retry_failed(
        outcomes or None, endpoints=endpoints or None, cells=cells or None
    )
    _going(app, found, app.words.retrying, wait=wait, as_json=as_json)


retry_failed = retry


@click.command()
@click.argument("job")
@click.option(
    "--rows",
    "rows_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="JSON Lines: rows that come behind those JOB has.",
)
@click.option("--dataset", help="Id or name of a revision that begins with the rows JOB has.")
@click.option("--endpoint", "endpoints", multiple=True, help="One more endpoint.")
@click.option("--scorer", "scorers", multiple=True, help="One more scorer, by its type.")
@click.option("--repeats", type=click.IntRange(min=1), help="How many JOB is to have.")
@click.option("--wait", is_flag=True, help="Wait for the end and show the comparison.")
@json_option
@connection_options
@pass_app
def extend(
    app: App,
    *,
    job: str,
    rows_file: Path | None,
    dataset: str | None,
    endpoints: tuple[str, ...],
    scorers: tuple[str, ...],
    repeats: int | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Add rows, endpoints, scorers or repeats to JOB; what was asked is not asked again."""
    if not (rows_file or dataset or endpoints or scorers or repeats):
        raise click.UsageError(
            "give at least one of --rows, --dataset, --endpoint, --scorer, --repeats"
        )
    if rows_file and dataset:
        raise click.UsageError("--rows and --dataset do not go together")
    found = app.client.job(job).extend(
        rows=None if rows_file is None else _rows(rows_file),
        dataset=dataset,
        endpoints=endpoints or None,
        scorers=scorers or None,
        repeats=repeats,
    )
    _going(app, found, app.words.extending, wait=wait, as_json=as_json)


def _rows(path: Path) -> list[dict[str, object]]:
    """Read the rows of a JSON Lines file."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise click.UsageError(f"{path}, line {number}: {error}") from error
        if not isinstance(row, dict):
            raise click.UsageError(f"{path}, line {number}: a row is an object")
        found.append(row)
    return found


def _going(app: App, job: Job, line: str, *, wait: bool, as_json: bool) -> None:
    """Say what was done to a job that goes on now, and follow it if wanted."""
    if not wait:
        _shown(app, job, line, as_json=as_json)
        if not as_json:
            app.say(f"{app.words.follow}\n  {job.comeback}")
        return
    app.say(line.format(name=text.visible(job.name)))
    follow(app, job, Terms(), as_json=as_json, per_endpoint=True)


def _shown(app: App, job: Job, line: str, *, as_json: bool) -> None:
    if as_json:
        app.json(job.answer)
    else:
        app.say(line.format(name=text.visible(job.name)))
