"""Schedules: jobs that the server starts by itself."""

from collections.abc import Iterator, Mapping
from typing import Literal, cast

from hikaku_client.connection import Connection
from hikaku_client.wire import Json, ScheduleAnswer, Slot


class Schedules:
    """`client.schedules`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self,
        name: str,
        *,
        cron: str,
        job: Mapping[str, Json],
        time_zone: str = "UTC",
        missed_policy: Literal["skip", "run_latest"] = "skip",
        paused: bool = False,
    ) -> ScheduleAnswer:
        """Start a job at every time `cron` names.

        Args:
            name: What lists call it.
            cron: Five fields, read in `time_zone`.
            job: A JobSpec, as `POST /jobs` takes it.
            time_zone: IANA name, such as Asia/Tokyo.
            missed_policy: What becomes of times at which no scheduler ran.
            paused: Wait for `resume`.
        """
        body: dict[str, Json] = {
            "name": name,
            "cron": cron,
            "time_zone": time_zone,
            "missed_policy": missed_policy,
            "paused": paused,
            "job": dict(job),
        }
        return _schedule(self._connection.post("/schedules", body, once=True))

    def list(self) -> Iterator[ScheduleAnswer]:
        """Go through the schedules."""
        return (cast("ScheduleAnswer", item) for item in self._connection.pages("/schedules"))

    def get(self, schedule_id: str) -> ScheduleAnswer:
        """Find a schedule by its `sch_...`."""
        return _schedule(self._connection.get(f"/schedules/{schedule_id}"))

    def pause(self, schedule_id: str) -> ScheduleAnswer:
        """Fire no more."""
        return _schedule(self._connection.patch(f"/schedules/{schedule_id}", {"paused": True}))

    def resume(self, schedule_id: str) -> ScheduleAnswer:
        """Fire again, from the next time on."""
        return _schedule(self._connection.patch(f"/schedules/{schedule_id}", {"paused": False}))

    def remove(self, schedule_id: str) -> None:
        """Remove it; the jobs it started stay."""
        self._connection.delete(f"/schedules/{schedule_id}")

    def slots(self, schedule_id: str) -> Iterator[Slot]:
        """Go through its firings."""
        pages = self._connection.pages(f"/schedules/{schedule_id}/slots")
        return (cast("Slot", item) for item in pages)


def _schedule(answer: Json) -> ScheduleAnswer:
    return cast("ScheduleAnswer", answer)
