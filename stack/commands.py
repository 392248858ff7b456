"""Commands of the `hikaku` command line that run programs on this machine.

They are found by it through entry points; `python -m stack.commands` offers them alone.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

import click

from stack import parts
from stack.errors import StackError
from stack.folder import Folder
from stack.models.fetch import cached, default_cache, fetch
from stack.models.registry import ADMITTED, MODELS, SLOTS, find

_P = ParamSpec("_P")
_R = TypeVar("_R")

data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".hikaku"),
    envvar="HIKAKU_DATA_DIR",
    show_default=True,
    help="Folder that holds the stack's state.",
)
_COLORS = {"ok": "green", "note": "yellow", "broken": "red"}


def _plainly(command: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn what is wrong with the machine into one line and exit status 1."""

    @wraps(command)
    def call(*arguments: _P.args, **options: _P.kwargs) -> _R:
        try:
            return command(*arguments, **options)
        except StackError as error:
            raise click.ClickException(str(error)) from error

    return call


@click.command()
@data_dir
@click.option(
    "--port", type=click.IntRange(1, 65_535), envvar="HIKAKU_PORT", help="Port of the API."
)
@click.option("--workers", type=click.IntRange(0, 256), help="Worker processes; one a core.")
@click.option(
    "--without",
    type=click.Choice(["mlflow", "models"]),
    multiple=True,
    help="Leave a part out; may be given twice.",
)
@click.option("--detach", is_flag=True, help="Return when ready; `hikaku down` stops it.")
@_plainly
def up(
    data_dir: Path, port: int | None, workers: int | None, without: tuple[str, ...], *, detach: bool
) -> None:
    """Start everything on this machine: database, queue, API, workers, models, MLflow."""
    from stack.plan import Choices  # noqa: PLC0415
    from stack.up import run, run_detached  # noqa: PLC0415 - other commands start faster without

    if detach:
        arguments = ["--data-dir", str(data_dir)]
        arguments += [] if port is None else ["--port", str(port)]
        arguments += [] if workers is None else ["--workers", str(workers)]
        arguments += [f"--without={part}" for part in without]
        sys.exit(run_detached(data_dir, arguments, write=click.echo))
    choices = Choices.of(os.environ, port=port, workers=workers, without=frozenset(without))
    sys.exit(run(data_dir, choices, write=click.echo))


@click.command()
@data_dir
@_plainly
def down(data_dir: Path) -> None:
    """Stop the stack of a folder."""
    from stack.up import stop_running  # noqa: PLC0415 - other commands start faster without

    stopped = stop_running(data_dir)
    click.echo("Stopped." if stopped else f"No stack runs in {data_dir}.")


@click.command()
@data_dir
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(data_dir: Path, *, as_json: bool) -> None:
    """Show processes, addresses, versions and the queue; exit 3 when nothing runs."""
    from stack import status as look  # noqa: PLC0415 - other commands start faster without

    found = look.status(Folder(data_dir))
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(look.lines(found)))
    sys.exit(0 if found["running"] else 3)


@click.command()
@data_dir
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(data_dir: Path, *, as_json: bool) -> None:
    """Look for what is missing or broken and say how to mend it; exit 1 when something is."""
    from stack.doctor import Finding, examine  # noqa: PLC0415 - other commands start faster without
    from stack.plan import Choices  # noqa: PLC0415

    broken = False
    for check in examine(Folder(data_dir), Choices.of(os.environ)):
        broken = broken or check.finding is Finding.BROKEN
        if as_json:
            fields = ("name", "finding", "says", "mend")
            line = {field: getattr(check, field) for field in fields}
            click.echo(json.dumps(line, ensure_ascii=False))
            continue
        mark = click.style(f"{check.finding:<7}", fg=_COLORS[check.finding])
        mend = f"\n{'':<21}-> {check.mend}" if check.mend else ""
        click.echo(f"{mark} {check.name:<12} {check.says}{mend}")
    sys.exit(1 if broken else 0)


@click.command()
@click.option("--processes", type=click.IntRange(1, 256), help="One a core when not given.")
@_plainly
def worker(processes: int | None) -> None:
    """Run worker processes for the queue that HIKAKU_REDIS_URL names."""
    from dataclasses import replace  # noqa: PLC0415

    from hikaku import logs  # noqa: PLC0415 - other commands start faster without
    from stack.plan import cores  # noqa: PLC0415
    from stack.supervisor import Supervisor  # noqa: PLC0415

    logs.configure(os.environ.get("HIKAKU_LOG_LEVEL", "INFO"))
    programs = [
        replace(parts.worker(parts.import_path(), number), after=())
        for number in range(1, (processes or cores()) + 1)
    ]
    sys.exit(Supervisor(programs, logs=None).run())


@click.command()
def scheduler() -> None:
    """Run the scheduler: it fires schedules and looks after what was lost."""
    _become("workers.main", "scheduler")


@click.group()
def gateway() -> None:
    """Run the gateway alone."""


@gateway.command("start")
@click.option(
    "--config-path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar=["HIKAKU_GATEWAY_CONFIG", "MLFLOW_GATEWAY_CONFIG"],
    show_envvar=True,
    required=True,
)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65_535), default=5000, show_default=True)
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True)
@click.option(
    "--usage-log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Append one line of JSON per call to this file.",
)
def gateway_start(
    config_path: Path, host: str, port: int, workers: int, usage_log: Path | None
) -> None:
    """Serve the endpoints of a YAML file."""
    log = () if usage_log is None else ("--usage-log", str(usage_log))
    _become(
        "gateway.main", "--config-path", str(config_path), "--host", host,
        "--port", str(port), "--workers", str(workers), *log,
    )  # fmt: skip


@click.group()
def models() -> None:
    """Local models: which there are, get them, serve them."""


@models.command("list")
@data_dir
def models_list(data_dir: Path) -> None:
    """List the models and whether their weights are here."""
    from stack.status import ask  # noqa: PLC0415 - other commands start faster without

    urls = (Folder(data_dir).description() or {}).get("urls") or {}
    served = (ask(f"{urls['models']}/") or {}).get("models", {}) if "models" in urls else {}
    for model in MODELS.values():
        path = cached(model, default_cache())
        state = str(path) if path else served.get(model.id, {}).get("reason") or "not here"
        size = f"{model.size_bytes / 1e6:.0f} MB"
        click.echo(f"{model.id:<30}{size:>8}  {model.licence:<12}{state}")


@models.command("pull")
@click.argument("model_ids", nargs=-1, metavar="[ID]...")
@_plainly
def models_pull(model_ids: tuple[str, ...]) -> None:
    """Download weights into the cache, all models when none is named."""
    for model in [find(model_id) for model_id in model_ids or MODELS]:
        with click.progressbar(length=model.size_bytes, label=model.id) as bar:
            path = fetch(model, default_cache(), progress=lambda have: bar.update(have - bar.pos))
            bar.update(model.size_bytes - bar.pos)
        click.echo(str(path))


@models.command("serve")
@click.option("--port", type=click.IntRange(1, 65_535), default=8422, show_default=True)
@click.option("--slots", type=click.IntRange(1, 64), default=SLOTS, show_default=True)
@click.option("--max-concurrent-requests", type=click.IntRange(1), default=ADMITTED)
@click.argument("model_ids", nargs=-1, metavar="[ID]...")
def models_serve(
    port: int, slots: int, max_concurrent_requests: int, model_ids: tuple[str, ...]
) -> None:
    """Serve local models behind TGI's wire on loopback."""
    chosen = ("--model", *model_ids) if model_ids else ()
    _become(
        "stack.models.server", "--port", str(port), "--slots", str(slots),
        "--max-concurrent-requests", str(max_concurrent_requests), *chosen,
    )  # fmt: skip


def _become(module: str, *arguments: str) -> NoReturn:
    """Replace this process: signals and exit status are then the program's own."""
    sys.stdout.flush()
    environ = {**os.environ, **parts.import_path()}
    os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environ)  # noqa: S606


@click.group()
def main() -> None:
    """Run Hikaku's programs on this machine."""


for _command in (up, down, status, doctor, worker, scheduler, gateway, models):
    main.add_command(_command)

if __name__ == "__main__":
    main()
