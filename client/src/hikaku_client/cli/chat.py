"""`hikaku chat`: ask one endpoint one thing."""

import json
import re
import sys

import click

from hikaku_client import text
from hikaku_client.cli.app import App, connection_options, json_option, pass_app
from hikaku_client.cli.values import Assignment
from hikaku_client.wire import Json

_BARE_POINT = re.compile(r"[+-]?(\d+\.|\.\d+)", re.ASCII)


@click.command()
@click.argument("endpoint")
@click.argument("message")
@click.option(
    "--var",
    "variables",
    type=Assignment(),
    multiple=True,
    help="Value of a {{name}} in MESSAGE, which then is a template.",
)
@click.option("--system", help="A system message to go first.")
@click.option(
    "--param",
    "params",
    type=Assignment(),
    multiple=True,
    help="A sampling parameter, such as temperature=0 or max_tokens=50.",
)
@json_option
@connection_options
@pass_app
def chat(
    app: App,
    *,
    endpoint: str,
    message: str,
    variables: tuple[tuple[str, str], ...],
    system: str | None,
    params: tuple[tuple[str, str], ...],
    as_json: bool,
) -> None:
    """Ask ENDPOINT for an answer to MESSAGE (`-` reads it from stdin)."""
    said = sys.stdin.read() if message == "-" else message
    sampling = {name: _value(value) for name, value in params}
    if variables and system is not None:
        raise click.UsageError("--var and --system do not go together")
    if variables:
        answer = app.client.chat(endpoint, prompt=said, variables=dict(variables), params=sampling)
    else:
        messages = [{"role": "user", "content": said}]
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        answer = app.client.chat(endpoint, messages, params=sampling)
    if as_json:
        app.json(answer)
        return
    click.echo(text.visible(answer["completion"]) if app.out.is_terminal else answer["completion"])
    usage = answer["usage"]
    facts = [
        answer.get("model") or answer["endpoint"],
        text.milliseconds(answer["latency_ms"]),
        app.words.tokens.format(
            input=text.count(usage["input_tokens"]), output=text.count(usage["output_tokens"])
        ),
        answer["finish_reason"] or "",
    ]
    app.err.print(text.visible(" · ".join(fact for fact in facts if fact)), style="dim")


def _value(written: str) -> Json:
    """Read JSON, or a number that only people write so, such as .5; else it is text."""
    if _BARE_POINT.fullmatch(written):
        return float(written)
    try:
        value: Json = json.loads(written)
    except ValueError:
        return written
    return value
