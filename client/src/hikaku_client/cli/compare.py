"""`hikaku compare`: hold endpoints, of one job or of several, against a baseline."""

import click

from hikaku_client.cli.app import App, connection_options, json_option, pass_app


@click.command()
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@click.option("--baseline", metavar="ENDPOINT", help="An endpoint, or JOB:ENDPOINT.")
@json_option
@connection_options
@pass_app
def compare(app: App, *, jobs: tuple[str, ...], baseline: str | None, as_json: bool) -> None:
    """Hold the endpoints of JOB... against a baseline, row by row."""
    comparison = app.client.compare(jobs, baseline)
    if as_json:
        app.json(comparison.answer)
    else:
        app.print(comparison)
