"""`hikaku schedule`: jobs that the server starts by itself."""

from pathlib import Path
from typing import Literal

import click
from rich.table import Table
from rich.text import Text

from hikaku_client import text
from hikaku_client.cli.app import App, connection_options, json_option, pass_app
from hikaku_client.cli.jobs import table
from hikaku_client.cli.run import load
from hikaku_client.errors import Fault, InvalidRequest
from hikaku_client.wire import ScheduleAnswer, Slot


@click.group()
def schedule() -> None:
    """Jobs that start by themselves."""


@schedule.command()
@click.argument("spec", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--cron", required=True, help="Five fields, such as '30 2 * * *'.")
@click.option("--time-zone", default="UTC", show_default=True, help="Such as Asia/Tokyo.")
@click.option("--name", help="Else the spec's name.")
@click.option(
    "--missed",
    type=click.Choice(["skip", "run-latest"]),
    default="skip",
    show_default=True,
    help="What becomes of times at which no scheduler ran.",
)
@click.option("--paused", is_flag=True, help="Wait for `hikaku schedule resume`.")
@json_option
@connection_options
@pass_app
def add(
    app: App,
    *,
    spec: Path,
    cron: str,
    time_zone: str,
    name: str | None,
    missed: str,
    paused: bool,
    as_json: bool,
) -> None:
    """Start the job of SPEC at every time that --cron names."""
    file, job = load(app, spec)
    policy: Literal["skip", "run_latest"] = "run_latest" if missed == "run-latest" else "skip"
    try:
        answer = app.client.schedules.add(
            name or str(job.get("name") or spec.stem),
            cron=cron,
            job=job,
            time_zone=time_zone,
            missed_policy=policy,
            paused=paused,
        )
    except InvalidRequest as error:
        inside = [fault for fault in error.faults if fault.pointer.startswith("/job/")]
        if not inside:
            raise
        raise file.mapped(_without_job(error, inside)) from error
    _show(app, answer, as_json=as_json)


def _without_job(error: InvalidRequest, inside: list[Fault]) -> InvalidRequest:
    """The same complaint about the spec alone, which a schedule holds under `/job`."""
    faults = [
        Fault(pointer=fault.pointer.removeprefix("/job"), message=fault.message) for fault in inside
    ]
    return InvalidRequest(error.message, status=error.status, code=error.code, faults=faults)


@schedule.command("ls")
@json_option
@connection_options
@pass_app
def list_schedules(app: App, *, as_json: bool) -> None:
    """List the schedules."""
    found, words = list(app.client.schedules.list()), app.words
    if as_json:
        for item in found:
            app.json(item)
        return
    if not found:
        app.say(words.none)
        return
    listing = table(words.schedule, words.name, "cron", words.next, words.state)
    for item in found:
        listing.add_row(
            Text(item["id"]),
            Text(text.visible(item["name"])),
            Text(f"{item['cron']} ({item['time_zone']})"),
            text.instant(item["next_fire_at"], item["time_zone"]),
            words.paused if item["paused"] else words.active,
        )
    app.print(listing)


@schedule.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@json_option
@connection_options
@pass_app
def show(app: App, *, schedule_id: str, as_json: bool) -> None:
    """Show when SCHEDULE fires next, and what its last firings did."""
    _show(app, app.client.schedules.get(schedule_id), as_json=as_json)


@schedule.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@json_option
@connection_options
@pass_app
def pause(app: App, *, schedule_id: str, as_json: bool) -> None:
    """Fire SCHEDULE no more."""
    _show(app, app.client.schedules.pause(schedule_id), as_json=as_json)


@schedule.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@json_option
@connection_options
@pass_app
def resume(app: App, *, schedule_id: str, as_json: bool) -> None:
    """Fire SCHEDULE again, from its next time on."""
    _show(app, app.client.schedules.resume(schedule_id), as_json=as_json)


@schedule.command()
@click.argument("schedule_id", metavar="SCHEDULE")
@connection_options
@pass_app
def rm(app: App, *, schedule_id: str) -> None:
    """Remove SCHEDULE; the jobs it started stay."""
    app.client.schedules.remove(schedule_id)
    app.say(app.words.removed.format(name=schedule_id))


def _show(app: App, item: ScheduleAnswer, *, as_json: bool) -> None:
    if as_json:
        app.json(item)
        return
    app.print(_facts(app, item))


def _facts(app: App, item: ScheduleAnswer) -> Table:
    words = app.words
    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(words.schedule, item["id"])
    grid.add_row(words.name, Text(text.visible(item["name"])))
    grid.add_row("cron", f"{item['cron']} ({item['time_zone']})")
    grid.add_row(words.state, words.paused if item["paused"] else words.active)
    if not item["paused"]:
        fires = [text.instant(fire, item["time_zone"]) for fire in item.get("next_fires", [])]
        grid.add_row(words.fires, "\n".join(fires) or text.UNKNOWN)
    slots = [_slot(slot, item["time_zone"]) for slot in item.get("last_slots", [])]
    grid.add_row(words.slots, "\n".join(slots) or words.none)
    return grid


def _slot(slot: Slot, zone: str) -> str:
    what_came = slot.get("job_id") or text.one_line(slot.get("error"))
    return f"{text.instant(slot['fire_at'], zone)}  {slot['state']}  {what_came}"
