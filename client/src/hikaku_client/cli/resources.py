"""`hikaku endpoint` and `hikaku dataset`: what there is to ask, and to ask about."""

from collections.abc import Sequence
from pathlib import Path

import click
from rich.text import Text

from hikaku_client import text
from hikaku_client.cli.app import App, connection_options, json_option, pass_app
from hikaku_client.cli.jobs import table
from hikaku_client.cli.run import say_uploaded
from hikaku_client.wire import ConfigAnswer, EndpointAnswer


@click.group()
def endpoint() -> None:
    """Endpoints of the gateway."""


@endpoint.command("ls")
@json_option
@connection_options
@pass_app
def list_endpoints(app: App, *, as_json: bool) -> None:
    """List the endpoints, and whether they can be asked."""
    found, words = app.client.endpoints(), app.words
    _say_what_is_wrong(app, app.client.endpoint_config(), found)
    if as_json:
        for item in found:
            app.json(item)
        return
    if not found:
        app.say(words.none)
        return
    listing = table(words.endpoint, words.provider, words.model, words.available)
    for item in found:
        names = (item["name"], item["provider"], item["model"] or text.UNKNOWN)
        listing.add_row(*(Text(text.visible(name)) for name in names), _availability(app, item))
    app.print(listing)


@endpoint.command("reload")
@connection_options
@pass_app
def reload_endpoints(app: App) -> None:
    """Have the server read the gateway's file now."""
    answer = app.client.reload_endpoints()
    _say_what_is_wrong(app, answer.get("config"), ())
    app.say(f"{len(answer['data'])} {app.words.endpoint}")


def _say_what_is_wrong(
    app: App, config: ConfigAnswer | None, listed: Sequence[EndpointAnswer]
) -> None:
    """Say on stderr why the file is not in use, and what no listed endpoint says by itself."""
    if config is None:
        return
    if config["error"]:
        app.err.print(app.words.config_error, style="red", soft_wrap=True)
        app.say("\n".join(text.visible(line) for line in config["error"].splitlines()))
    for warning in config["warnings"]:
        if not any(item["reason"] and item["reason"] in warning for item in listed):
            app.err.print(text.visible(warning), style="yellow", soft_wrap=True)


def _availability(app: App, item: EndpointAnswer) -> Text:
    if item["available"]:
        return Text(app.words.yes, style="green")
    reason = text.one_line(item["reason"])
    return Text(f"{app.words.no}: {reason}" if reason else app.words.no, style="yellow")


@click.group()
def dataset() -> None:
    """Rows kept on the server."""


@dataset.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="Else the file's name.")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv", "tsv", "json"]))
@click.option("--encoding", help="Such as cp932; else detected.")
@json_option
@connection_options
@pass_app
def upload(
    app: App,
    *,
    file: Path,
    name: str | None,
    form: str | None,
    encoding: str | None,
    as_json: bool,
) -> None:
    """Upload FILE (JSONL, CSV, TSV or JSON) as a revision of a dataset."""
    answer = app.client.datasets.upload(file, name=name, format=form, encoding=encoding)
    if as_json:
        app.json(answer)
        return
    say_uploaded(app, dict(answer))
    app.print(answer["id"])


@dataset.command("ls")
@json_option
@connection_options
@pass_app
def list_datasets(app: App, *, as_json: bool) -> None:
    """List the datasets."""
    found, words = list(app.client.datasets.list()), app.words
    if as_json:
        for item in found:
            app.json(item)
        return
    if not found:
        app.say(words.none)
        return
    listing = table(words.name, words.revision, words.rows, words.columns, words.dataset)
    for item in found:
        columns = ", ".join(item["columns"])
        listing.add_row(
            Text(text.visible(item["name"] or text.UNKNOWN)),
            text.count(item["revision"]),
            text.count(item["rows"]),
            Text(text.one_line(columns)),
            Text(item["id"], style="dim"),
        )
    app.print(listing)
