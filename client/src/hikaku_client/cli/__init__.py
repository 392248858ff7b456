"""The `hikaku` command line: which commands there are, and how a failure ends.

Only this module loads for `hikaku --help`; a command's own module loads when it is called.
"""

import sys
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from io import TextIOWrapper

import click
from typing_extensions import override

from hikaku_client.cli.app import App, Exit, connection_options
from hikaku_client.errors import HikakuError

SERVER_COMMANDS = "hikaku.commands"
"""Entry point group through which an installed server adds its commands."""

_JOBS = {
    "run": ("run", "Start the job that a spec file describes."),
    "watch": ("run", "Follow a job to its end."),
    "jobs": ("jobs", "List jobs, newest first."),
    "show": ("jobs", "Show one job."),
    "cells": ("jobs", "Show what was answered, row by row."),
    "compare": ("compare", "Hold endpoints against a baseline."),
    "export": ("jobs", "Write a job's cells to a file."),
    "cancel": ("jobs", "Stop a job; what was recorded is kept."),
    "pause": ("control", "Start no new call of a job."),
    "resume": ("control", "Let a paused job go on."),
    "retry": ("control", "Run a job's failed cells again."),
    "retry-failed": ("control", "The same."),
    "estimate": ("money", "Estimate calls, tokens, cost and time of a spec from a few rows."),
    "top-up": ("money", "Raise what a job may cost."),
    "rescore": ("money", "Judge a job by other scorers, without any call."),
    "extend": ("control", "Add rows, endpoints, scorers or repeats to a job."),
}
_REST = {
    "chat": ("chat", "Ask one endpoint one thing."),
    "endpoint": ("resources", "Endpoints of the gateway."),
    "dataset": ("resources", "Rows kept on the server."),
    "schedule": ("schedules", "Jobs that start by themselves."),
    "budget": ("money", "What a project may spend."),
    "usage": ("usage", "What models were used for."),
}
_SERVER = {
    "up": "Start everything on this machine.",
    "down": "Stop it.",
    "status": "Show processes, ports and the queue.",
    "doctor": "Say what is missing, and how to mend it.",
    "worker": "Run workers.",
    "scheduler": "Run a scheduler.",
    "gateway": "Run the gateway alone.",
    "models": "Fetch and list the small local models.",
}


class Root(click.Group):
    """A group that loads a command when it is called, and turns errors into exit codes."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*_JOBS, *_REST, *_server_commands()]

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if found := {**_JOBS, **_REST}.get(cmd_name):
            module = import_module(f"hikaku_client.cli.{found[0]}")
            command = getattr(module, cmd_name.replace("-", "_"))
            return command if isinstance(command, click.Command) else None
        return _server_command(cmd_name)

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in (
            ("Evaluate", {name: line for name, (_, line) in _JOBS.items()}),
            ("More", {name: line for name, (_, line) in _REST.items()}),
            ("Server", _server_commands()),
        ):
            with formatter.section(title):
                formatter.write_dl(list(commands.items()))

    @override
    def invoke(self, ctx: click.Context) -> object:
        app = ctx.ensure_object(App)
        try:
            result: object = super().invoke(ctx)
        except HikakuError as error:
            app.complain(error)
            ctx.exit(Exit.of(error))
        except KeyboardInterrupt:
            ctx.exit(Exit.INTERRUPTED)
        return result


def _server_commands() -> dict[str, str]:
    """Server commands with a line of help each: the known ones, and any other installed."""
    return _SERVER | {
        entry.name: "" for entry in _installed() if entry.name not in {**_SERVER, **_JOBS, **_REST}
    }


def _installed() -> list[EntryPoint]:
    return list(entry_points(group=SERVER_COMMANDS))


def _server_command(name: str) -> click.Command | None:
    for entry in _installed():
        if entry.name == name:
            return _loaded(entry)
    if name in _SERVER:
        raise click.UsageError(_NOT_INSTALLED.format(name=name, why="is not installed here"))
    return None


def _loaded(entry: EntryPoint) -> click.Command | None:
    try:
        command: object = entry.load()
    except ModuleNotFoundError as error:
        why = f"is installed here without {error.name}"
        raise click.UsageError(_NOT_INSTALLED.format(name=entry.name, why=why)) from error
    return command if isinstance(command, click.Command) else None


_NOT_INSTALLED = (
    "`hikaku {name}` comes with the server, which {why}.\n"
    "In a clone of the repository `make up` installs and starts it; or install it into this"
    " environment there with: pip install '.[stack]'"
)


_ABOUT = """Find out which prompt and which model is better, and trust the answer.

\b
hikaku up                                    start a server on this machine
hikaku run examples/first-job.yaml --watch   compare two models on it
"""


@click.group(cls=Root, help=_ABOUT, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hikaku-client", prog_name="hikaku")
@connection_options
def root() -> None:
    """Hold the commands."""


def main() -> None:
    """Run the command line, in UTF-8 whatever the locale says."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            errors = "strict" if stream is sys.stdin else "backslashreplace"
            stream.reconfigure(encoding="utf-8", errors=errors)
    root(prog_name="hikaku")
