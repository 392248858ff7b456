"""`hikaku run` and `hikaku watch`: start a job from a file, and follow one to its end."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click
from click.core import ParameterSource

from hikaku_client import spec as spec_files
from hikaku_client import text
from hikaku_client.cli.app import App, connection_options, json_option, pass_app
from hikaku_client.cli.ending import Terms, follow
from hikaku_client.cli.values import GateType, Share
from hikaku_client.errors import InvalidRequest
from hikaku_client.gates import Gate
from hikaku_client.jobs import Job
from hikaku_client.wire import Json

Function = TypeVar("Function", bound=Callable[..., object])

_ABOUT_THE_END = {
    "gates": "--gate",
    "max_error_rate": "--max-error-rate",
    "timeout": "--timeout",
}


def ending_options(function: Function) -> Function:
    """Give a command the options that say what a good end is."""
    options = (
        click.option(
            "--max-error-rate",
            type=Share(),
            default=0.0,
            show_default=True,
            help="Share of cells that may end without a result before the exit code is 5.",
        ),
        click.option(
            "--gate",
            "gates",
            type=GateType(),
            multiple=True,
            metavar="CONDITION",
            help="Such as score.contains>=0.8 or delta.contains.low>=-0.02; else exit code 100.",
        ),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            metavar="SECONDS",
            help="Stop waiting then, with exit code 6; the job goes on.",
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


_RUN = """Start the job that SPEC, a YAML file, describes.

\b
Exit codes:
  0    done                          5    more cells failed than --max-error-rate
  1    something broke               6    --timeout is over; the job goes on
  2    the spec or request is wrong  100  a --gate does not hold
  3    not allowed                   130  detached with Ctrl-C; the job goes on

--max-error-rate, --gate and --timeout are about the end, so they need --wait or --watch.
"""


@click.command(help=_RUN)
@click.argument("spec", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--wait", is_flag=True, help="Wait for the end and show the comparison.")
@click.option("--watch", is_flag=True, help="Wait, with live progress of each endpoint.")
@click.option("--reuse", is_flag=True, help="Answer from recorded completions where there are any.")
@click.option("--name", help="Name of the job, instead of the spec's.")
@click.option("--estimate", is_flag=True, help="Ask about 20 rows only, and estimate the rest.")
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="USD",
    help="The most it may cost; at that it pauses.",
)
@ending_options
@json_option
@connection_options
@pass_app
def run(
    app: App,
    *,
    spec: Path,
    wait: bool,
    watch: bool,
    reuse: bool,
    name: str | None,
    estimate: bool,
    budget: float | None,
    max_error_rate: float,
    gates: tuple[Gate, ...],
    timeout: float | None,
    as_json: bool,
) -> None:
    """Start the job that SPEC describes."""
    if not (wait or watch):
        _refuse_terms()
    changes: dict[str, Json] = {}
    if name is not None:
        changes["name"] = name
    if reuse:
        changes["reuse"] = "on"
    if budget is not None:
        changes["budget_usd"] = str(budget)
    if estimate:
        from hikaku_client.cli import money  # noqa: PLC0415 - it loads this module

        money.show_estimate(app, spec, changes, as_json=as_json)
        return
    job = _submit(app, spec, changes)
    if wait or watch:
        terms = Terms(max_error_rate=max_error_rate, timeout=timeout, gates=gates)
        follow(app, job, terms, as_json=as_json, per_endpoint=watch)
    elif as_json:
        app.json(job.answer)
    else:
        app.print(job.id)
        app.say(f"{app.words.follow}\n  {job.comeback}")


@click.command()
@click.argument("job")
@ending_options
@json_option
@connection_options
@pass_app
def watch(
    app: App,
    *,
    job: str,
    max_error_rate: float,
    gates: tuple[Gate, ...],
    timeout: float | None,
    as_json: bool,
) -> None:
    """Follow JOB to its end; Ctrl-C leaves it running."""
    terms = Terms(max_error_rate=max_error_rate, timeout=timeout, gates=gates)
    follow(app, app.client.job(job), terms, as_json=as_json, per_endpoint=True)


def load(app: App, path: Path) -> tuple[spec_files.SpecFile, dict[str, Json]]:
    """Read a spec file and upload the rows it names, so that the spec is what the server takes."""
    file = spec_files.load(path)
    spec = dict(file.spec)
    if file.rows_file is not None:
        try:
            dataset = app.client.datasets.upload(file.rows_file)
        except InvalidRequest as error:
            raise InvalidRequest(f"{file.rows_file}: {error}") from error
        say_uploaded(app, dict(dataset))
        spec["dataset"] = {"id": dataset["id"]}
    return file, spec


def say_uploaded(app: App, dataset: dict[str, object]) -> None:
    """Say what an upload became."""
    app.say(app.words.uploaded.format(**dataset))


def _refuse_terms() -> None:
    """Refuse what only the end could tell, before a job starts that nobody waits for.

    Raises:
        click.UsageError: An option about the end is on the command line.
    """
    source = click.get_current_context().get_parameter_source
    given = [
        option
        for name, option in _ABOUT_THE_END.items()
        if source(name) is ParameterSource.COMMANDLINE
    ]
    if given:
        raise click.UsageError(
            f"{', '.join(given)}: only the end of the job tells; add --wait or --watch"
        )


def _submit(app: App, path: Path, changes: dict[str, Json]) -> Job:
    file, spec = load(app, path)
    try:
        job = app.client.submit({"name": path.stem, **spec, **changes})
    except InvalidRequest as error:
        raise file.mapped(error) from error
    answer = job.answer
    line = app.words.submitted.format(
        name=text.visible(job.name),
        cells=text.count(job.counts["total"]),
        rows=text.count(answer["dataset"]["n_rows"] if "dataset" in answer else None),
        endpoints=len(answer.get("endpoints", [])),
        repeats=answer.get("repeats", 1),
    )
    app.say(line)
    return job
