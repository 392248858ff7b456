"""`hikaku usage`: what models were used for."""

import click
from rich.text import Text

from hikaku_client import text
from hikaku_client.cli.app import App, connection_options, json_option, pass_app
from hikaku_client.cli.jobs import table


@click.command()
@click.option("--from", "since", help="RFC 3339 time; 30 days ago where it is not given.")
@click.option("--to", "until", help="RFC 3339 time; now where it is not given.")
@click.option(
    "--by",
    type=click.Choice(["endpoint", "caller", "day"]),
    default="endpoint",
    show_default=True,
    help="What is summed up.",
)
@json_option
@connection_options
@pass_app
def usage(app: App, *, since: str | None, until: str | None, by: str, as_json: bool) -> None:
    """Sum up calls, tokens and money: of questions, and of jobs."""
    found, words = app.client.usage(since=since, until=until, by=by), app.words
    if as_json:
        app.json(found)
        return
    if not found["data"]:
        app.say(words.none)
        return
    listing = table(
        words.used_by[by],
        words.used_calls,
        words.used_by_jobs,
        words.used_in_vain,
        words.used_tokens,
        words.used_money,
    )
    for one in found["data"]:
        unknown = f" (+{one['cost_unknown_calls']}?)" if one["cost_unknown_calls"] else ""
        listing.add_row(
            Text(text.visible(one["group"]) or text.UNKNOWN),
            str(one["calls"]),
            str(one["of_jobs"]),
            str(one["failed"]),
            f"{one['input_tokens']} + {one['output_tokens']}",
            f"{text.money(one['cost_usd'])}{unknown}",
        )
    app.print(listing)
