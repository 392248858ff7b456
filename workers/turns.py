"""Whose call is next in this process: fair between projects and jobs, whatever else waits.

A cell takes a turn before it is asked. So many calls may be in flight at once; and before each
endpoint's limit only as many wait at its door as keep it busy, because a limit serves in the order
of arrival: who comes later with more right would stand behind all who came before.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from itertools import count
from typing import Self

from msgspec import Struct

from gateway.limits import WAITING_ROOM

FIRST_CALLS = 16
"""In flight of one job; up to these it may go beyond what the process has in flight at most."""

SPARE = 4
"""Part of the calls in flight that may come on top, for first calls: a fourth."""


class Party(Struct, frozen=True, kw_only=True, gc=False):
    """On whose behalf a call is made."""

    job_id: str
    project: str
    weight: float
    """Of the project."""
    priority: int
    """Inside the project; 0 goes first."""


_Place = tuple[Party, str]
"""A party and the endpoint that it wants to ask."""


class Turn:
    """The right to ask for one cell, as long as it is entered."""

    __slots__ = ("_at_door", "_check", "_place", "_turns")

    def __init__(self, turns: "Turns", place: _Place, check: Callable[[], None]) -> None:
        self._turns = turns
        self._place = place
        self._check = check
        self._at_door = False

    async def __aenter__(self) -> Self:
        """Wait for the turn.

        Raises:
            StopShard: No call may start any more.
        """
        while not self._turns.take_at_once(self._place):
            if await self._turns.queued(self._place):
                break
            self._check()
        self._at_door = True
        return self

    async def __aexit__(self, *_: object) -> None:
        self._leave_door()
        self._turns.ended(self._place)

    def sending(self) -> None:
        """Say that the endpoint's limit let it pass: the call is about to be made.

        Raises:
            StopShard: It must not be made.
        """
        self._check()
        self._leave_door()

    def _leave_door(self) -> None:
        if self._at_door:
            self._at_door = False
            self._turns.passed(self._place)


class Turns:
    """Hands out turns; the party with the least in flight for its weight is next."""

    def __init__(
        self,
        most: int,
        *,
        at_door: Callable[[str], int] = lambda _: WAITING_ROOM,
        spare: int | None = None,
    ) -> None:
        """Make one for a process.

        Args:
            most: Calls in flight at once.
            at_door: Cells of an endpoint, at most, that have their turn and are not sent yet: its
                limit holds them.
            spare: Calls on top, for jobs that have few in flight: calls of others can be long.
        """
        self._free = most
        self._spare = most // SPARE if spare is None else spare
        self._most_at_door = at_door
        self._at_door: Counter[str] = Counter()
        self._of_project: Counter[str] = Counter()
        self._of_job: Counter[str] = Counter()
        self._waiting: dict[_Place, deque[asyncio.Future[bool]]] = {}
        self._clock = count(1)
        self._served: dict[str, int] = {}
        """When a job or a project was last served, for those that wait."""

    def turn(self, party: Party, endpoint: str, check: Callable[[], None]) -> Turn:
        """Prepare a turn; enter it to ask.

        Args:
            party: On whose behalf.
            endpoint: Whom.
            check: Raises when no call may start any more; asked again before each call.
        """
        return Turn(self, (party, endpoint), check)

    def take_at_once(self, place: _Place) -> bool:
        """Take a turn if nobody waits and there is room."""
        if self._waiting or not self._is_open(place):
            return False
        self._grant(place)
        return True

    async def queued(self, place: _Place) -> bool:
        """Wait for a turn; False when those who wait for this job were sent away."""
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(place, deque()).append(turn)
        self._go_on()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.passed(place)
                self.ended(place)
            raise

    def dismiss(self, job_id: str | None = None) -> None:
        """Send away who waits for a job, or for any: they are not to ask any more."""
        for place in [p for p in self._waiting if job_id is None or p[0].job_id == job_id]:
            for turn in self._waiting.pop(place):
                if not turn.done():
                    turn.set_result(False)

    def passed(self, place: _Place) -> None:
        """Note that a cell has left the door of its endpoint."""
        self._at_door[place[1]] -= 1
        if self._waiting:
            self._go_on()

    def ended(self, place: _Place) -> None:
        """Note that a cell has ended."""
        party, _ = place
        self._free += 1
        for counter, name in ((self._of_project, party.project), (self._of_job, party.job_id)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]
        if self._waiting:
            self._go_on()
        else:
            self._served.clear()

    def _grant(self, place: _Place) -> None:
        party, endpoint = place
        self._free -= 1
        self._at_door[endpoint] += 1
        self._of_project[party.project] += 1
        self._of_job[party.job_id] += 1

    def _go_on(self) -> None:
        while (place := self._next()) is not None:
            waiting = self._waiting[place]
            turn = waiting.popleft()
            if not waiting:
                del self._waiting[place]
            if not turn.done():
                party, _ = place
                self._served[party.job_id] = self._served[party.project] = next(self._clock)
                self._grant(place)
                turn.set_result(True)

    def _next(self) -> _Place | None:
        """Choose who is next; who is alone needs no comparison, and mostly all doors are full."""
        if self._free <= -self._spare:
            return None
        first: _Place | None = None
        for place in self._waiting:
            if self._is_open(place) and (first is None or self._right(place) < self._right(first)):
                first = place
        return first

    def _is_open(self, place: _Place) -> bool:
        party, endpoint = place
        if self._at_door[endpoint] >= self._most_at_door(endpoint):
            return False
        is_first = self._of_job[party.job_id] < FIRST_CALLS
        return self._free > 0 or (is_first and self._free > -self._spare)

    def _right(self, place: _Place) -> tuple[float, ...]:
        """Rank who waits; the least goes first."""
        party, _ = place
        return (
            self._of_project[party.project] / party.weight,
            self._served.get(party.project, 0),
            party.priority,
            self._of_job[party.job_id],
            self._served.get(party.job_id, 0),
        )
