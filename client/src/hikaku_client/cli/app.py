"""What every command shares: the server, the language, the two streams and the exit codes."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Self, TypeVar

import click

from hikaku_client import words
from hikaku_client.errors import (
    HikakuError,
    InvalidRequest,
    NotAllowed,
    NotFound,
    Problem,
    WaitTimeout,
)
from hikaku_client.text import visible
from hikaku_client.words import Words

if TYPE_CHECKING:  # they load slowly, and `--help` needs neither
    import httpx2
    from rich.console import Console, RenderableType

    from hikaku_client.client import Client
    from hikaku_client.connection import Clock

Function = TypeVar("Function", bound=Callable[..., object])


class Exit(IntEnum):
    """How a command ends."""

    OK = 0
    ERROR = 1
    USAGE = 2  #: Also a spec or a request that must change.
    NOT_ALLOWED = 3
    CELLS_FAILED = 5  #: The job ended with more failed cells than `--max-error-rate`.
    TIMEOUT = 6  #: `--timeout` is over; the job goes on.
    GATE = 100  #: A `--gate` does not hold.
    INTERRUPTED = 130  #: Ctrl-C: detached; the job goes on.

    @classmethod
    def of(cls, error: HikakuError) -> Self:
        """The code that says what the caller can do about an error."""
        match error:
            case NotAllowed():
                return cls.NOT_ALLOWED
            case InvalidRequest() | NotFound():
                return cls.USAGE
            case WaitTimeout():
                return cls.TIMEOUT
            case _:
                return cls.ERROR


@dataclass(kw_only=True)
class App:
    """One call of the command line."""

    url: str | None = None
    language: str | None = None
    transport: "httpx2.BaseTransport | None" = None
    """What carries the requests; tests hand in their own."""
    clock: "Clock | None" = None

    @property
    def words(self) -> Words:
        """The language spoken."""
        return words.choose(self.language, os.environ)

    @cached_property
    def client(self) -> "Client":
        """The connection, made when it is first needed."""
        from hikaku_client.client import Client  # noqa: PLC0415 - `--help` must be fast

        return Client(self.url, transport=self.transport, language=self.language, clock=self.clock)

    @cached_property
    def out(self) -> "Console":
        """For results."""
        from hikaku_client import consoles  # noqa: PLC0415 - `--help` must be fast

        return consoles.results(os.environ)

    @cached_property
    def err(self) -> "Console":
        """For everything that is not the result."""
        from hikaku_client import consoles  # noqa: PLC0415 - `--help` must be fast

        return consoles.messages()

    def print(self, *parts: "RenderableType") -> None:
        """Show results, each on its own line; in a file without the blanks that fill lines."""
        if self.out.is_terminal:
            self.out.print(*parts, sep="\n")
            return
        with self.out.capture() as captured:
            self.out.print(*parts, sep="\n")
        for line in captured.get().splitlines():
            click.echo(line.rstrip())

    def say(self, message: str) -> None:
        """Say something beside the result."""
        self.err.print(message, soft_wrap=True)

    def json(self, value: object) -> None:
        """Write one line of JSON, its characters unescaped."""
        click.echo(json.dumps(value, ensure_ascii=False))

    def complain(self, error: HikakuError) -> None:
        """Say what went wrong and, where the server said so, under which request id."""
        self.err.print(f"hikaku: {visible(str(error))}", style="red", soft_wrap=True)
        if isinstance(error, Problem) and error.request_id:
            self.err.print(f"request {visible(error.request_id)}", style="dim", soft_wrap=True)


def connection_options(function: Function) -> Function:
    """Give a command `--url` and `--lang`."""
    url = click.option(
        "--url",
        metavar="URL",
        expose_value=False,
        callback=_set("url"),
        help="Server; else HIKAKU_URL, ./.hikaku/stack.json, http://127.0.0.1:8420.",
    )
    language = click.option(
        "--lang",
        type=click.Choice(["en", "ja"]),
        expose_value=False,
        callback=_set("language"),
        help="Language of the output; else the locale's.",
    )
    return url(language(function))


def json_option(function: Function) -> Function:
    """Give a command `--json`."""
    help_text = "JSON on stdout, one line each; everything else on stderr."
    return click.option("--json", "as_json", is_flag=True, help=help_text)(function)


pass_app = click.make_pass_decorator(App, ensure=True)


def _set(name: str) -> Callable[[click.Context, click.Parameter, str | None], None]:
    def callback(context: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            setattr(context.ensure_object(App), name, value)

    return callback
