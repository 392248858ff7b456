"""Commands about money: estimate a job, top one up, give a project a budget, judge anew."""

from pathlib import Path

import click
from rich.text import Text

from hikaku_client import text
from hikaku_client.cli.app import App, connection_options, json_option, pass_app
from hikaku_client.cli.ending import Terms, follow
from hikaku_client.cli.jobs import table
from hikaku_client.cli.run import load
from hikaku_client.errors import InvalidRequest
from hikaku_client.wire import Between, Json, Needs

_USD = click.FloatRange(min=0, min_open=True)


@click.command()
@click.argument("spec", type=click.Path(path_type=Path, dir_okay=False))
@json_option
@connection_options
@pass_app
def estimate(app: App, *, spec: Path, as_json: bool) -> None:
    """Ask about 20 rows of SPEC, and estimate the calls, tokens, cost and time of all of it."""
    show_estimate(app, spec, {}, as_json=as_json)


def show_estimate(app: App, path: Path, changes: dict[str, Json], *, as_json: bool) -> None:
    """Run the pilot of a spec file and show what it tells."""
    file, spec = load(app, path)
    app.say(app.words.piloting)
    try:
        told = app.client.estimate({"name": path.stem, **spec, **changes})
    except InvalidRequest as error:
        raise file.mapped(error) from error
    if as_json:
        app.json(told)
        return
    words = app.words
    listing = table(words.endpoint, words.calls, words.tokens_in_out, words.cost, words.time)
    for part in told["endpoints"]:
        listing.add_row(text.visible(part["name"]), *_needs(part))
    if len(told["endpoints"]) > 1:
        listing.add_row(words.total, *_needs(told))
    app.print(listing)
    pilot = told["pilot"]
    line = words.piloted.format(
        cells=text.count(pilot["cells"]),
        cost=text.money(pilot["cost_usd"]),
        confidence=text.percent(told["confidence"]),
    )
    app.say(line)
    for note in told.get("notes", []):
        app.say(f"{words.warning} {text.visible(note['message'])}")
    if pilot["failed"]:
        app.say(words.failed.format(failed=pilot["failed"]))


def _needs(needs: Needs) -> list[Text]:
    tokens = f"{_between(needs['input_tokens'])} / {_between(needs['output_tokens'])}"
    time = needs["seconds"]
    seconds = text.UNKNOWN
    if time is not None:
        low, value, high = (text.seconds(float(time[key])) for key in ("low", "value", "high"))
        seconds = f"{value} [{low}, {high}]"
    return [
        Text(part)
        for part in (_between(needs["calls"]), tokens, _between(needs["cost_usd"]), seconds)
    ]


def _between(found: Between | None) -> str:
    if found is None:
        return text.UNKNOWN
    low, value, high = (_amount(found[key]) for key in ("low", "value", "high"))
    return value if low == high else f"{value} [{low}, {high}]"


def _amount(value: float | str) -> str:
    return text.money(value) if isinstance(value, str) else text.count(round(value))


@click.command("top-up")
@click.argument("job")
@click.option("--add", type=_USD, metavar="USD", help="So much on top of its limit.")
@click.option("--limit", type=_USD, metavar="USD", help="Its limit from now on.")
@click.option("--no-resume", is_flag=True, help="Leave it paused.")
@click.option("--wait", is_flag=True, help="Wait for the end and show the comparison.")
@json_option
@connection_options
@pass_app
def top_up(
    app: App,
    *,
    job: str,
    add: float | None,
    limit: float | None,
    no_resume: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Raise what JOB may cost; if it paused because its money was spent, it goes on."""
    if (add is None) == (limit is None):
        raise click.UsageError("give exactly one of --add, --limit")
    found = app.client.job(job).top_up(add=add, limit=limit, resume=not no_resume)
    budget = found.answer.get("budget")
    if budget is not None:
        app.say(app.words.budget_of.format(**budget))
    if wait:
        follow(app, found, Terms(), as_json=as_json, per_endpoint=True)
    elif as_json:
        app.json(found.answer)


@click.command()
@click.argument("job")
@click.option("--scorer", "scorers", multiple=True, required=True, help="A scorer, by its type.")
@click.option("--wait", is_flag=True, help="Wait for the end and show the comparison.")
@json_option
@connection_options
@pass_app
def rescore(app: App, *, job: str, scorers: tuple[str, ...], wait: bool, as_json: bool) -> None:
    """Judge JOB's completions by other scorers, without any call: it makes another job."""
    found = app.client.job(job).rescore(scorers)
    app.say(app.words.rescoring.format(name=text.visible(found.name)))
    if wait:
        follow(app, found, Terms(), as_json=as_json, per_endpoint=True)
    elif as_json:
        app.json(found.answer)
    else:
        app.print(found.id)


@click.command()
@click.argument("project")
@click.option("--limit", type=_USD, metavar="USD", help="What it may spend from now on.")
@click.option("--remove", is_flag=True, help="Take its budget away.")
@json_option
@connection_options
@pass_app
def budget(app: App, *, project: str, limit: float | None, remove: bool, as_json: bool) -> None:
    """Show the budget of PROJECT, set it, or take it away."""
    if limit is not None and remove:
        raise click.UsageError("--limit and --remove do not go together")
    if remove:
        app.client.remove_budget(project)
        app.say(app.words.removed.format(name=text.visible(project)))
        return
    found = app.client.budget(project, limit)
    if as_json:
        app.json(found)
    else:
        app.print(app.words.budget_of.format(**found))
