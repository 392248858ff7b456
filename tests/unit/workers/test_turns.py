import asyncio
from collections import Counter

import pytest

from workers.errors import Paused
from workers.turns import Party, Turn, Turns


def party(job: str, project: str = "p", *, weight: float = 1, priority: int = 5) -> Party:
    return Party(job_id=job, project=project, weight=weight, priority=priority)


def no_check() -> None:
    return


class Calls:
    """Calls that end when told, in the order in which they began."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.began: list[str] = []
        self.open: list[tuple[str, asyncio.Event]] = []
        self.tasks: list[asyncio.Task[None]] = []

    def ask(self, who: Party, n: int, endpoint: str = "e") -> None:
        self.tasks += [asyncio.create_task(self._one(who, endpoint)) for _ in range(n)]

    async def _one(self, who: Party, endpoint: str) -> None:
        async with self.turns.turn(who, endpoint, no_check) as turn:
            turn.sending()
            ended = asyncio.Event()
            self.began.append(who.job_id)
            self.open.append((who.job_id, ended))
            await ended.wait()

    async def settled(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def end_first(self, n: int = 1) -> None:
        for _ in range(n):
            self.open.pop(0)[1].set()
            await self.settled()

    def flying(self) -> Counter[str]:
        return Counter(job for job, _ in self.open)

    async def stop(self) -> None:
        while self.open:
            await self.end_first()
        await asyncio.gather(*self.tasks)


async def test_a_small_job_that_comes_later_is_next():
    calls = Calls(Turns(4, spare=0))
    calls.ask(party("large"), 100)
    await calls.settled()
    calls.ask(party("small"), 2)
    await calls.settled()
    await calls.end_first(2)
    assert calls.began == ["large"] * 4 + ["small"] * 2
    await calls.stop()


async def test_the_first_calls_of_a_job_wait_for_no_call_of_another():
    calls = Calls(Turns(40))
    calls.ask(party("large"), 100)
    await calls.settled()
    for number in range(3):
        calls.ask(party(f"small{number}"), 4)
    await calls.settled()
    assert calls.flying() == {"large": 40, "small0": 4, "small1": 4, "small2": 2}, "a fourth more"
    await calls.stop()


async def test_two_projects_share_by_their_weights():
    calls = Calls(Turns(8, spare=0))
    calls.ask(party("a", "heavy", weight=3), 200)
    calls.ask(party("b", "light", weight=1), 200)
    await calls.settled()
    await calls.end_first(100)
    assert calls.flying() == {"a": 6, "b": 2}
    await calls.stop()


async def test_inside_a_project_the_first_priority_goes_first():
    calls = Calls(Turns(1, spare=0))
    calls.ask(party("running"), 1)
    await calls.settled()
    calls.ask(party("later", priority=7), 2)
    calls.ask(party("sooner", priority=1), 2)
    await calls.end_first(4)
    assert calls.began == ["running", "sooner", "sooner", "later", "later"]
    await calls.stop()


async def test_many_jobs_of_one_project_do_not_outweigh_one_of_another():
    calls = Calls(Turns(4, spare=0))
    for number in range(10):
        calls.ask(party(f"many{number}", "many"), 10)
    calls.ask(party("one", "one"), 100)
    await calls.settled()
    await calls.end_first(30)
    assert calls.flying()["one"] == 2
    await calls.stop()


async def test_only_a_few_stand_before_the_limit_of_an_endpoint():
    turns = Turns(100, at_door=lambda _: 2)
    entered: list[str] = []
    opened = asyncio.Event()

    async def one(who: Party, endpoint: str) -> None:
        async with turns.turn(who, endpoint, no_check) as turn:
            entered.append(f"{who.job_id} {endpoint}")
            await opened.wait()  # the limit of the endpoint
            turn.sending()

    tasks = [asyncio.create_task(one(party("large"), "slow")) for _ in range(10)]
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(one(party("small"), name)) for name in ("slow", "other")]
    await asyncio.sleep(0.01)
    assert entered == ["large slow", "large slow", "small other"]
    opened.set()
    await asyncio.gather(*tasks)
    assert entered[3] == "small slow"


async def test_who_waits_for_a_job_that_stops_is_sent_away():
    turns = Turns(1, spare=0)
    stopped = False

    def check() -> None:
        if stopped:
            raise Paused

    async def asked(turn: Turn) -> None:
        async with turn:
            pytest.fail("it had no turn")

    async with turns.turn(party("other"), "e", no_check):
        waiting = asyncio.create_task(asked(turns.turn(party("job"), "e", check)))
        await asyncio.sleep(0)
        stopped = True
        turns.dismiss("job")
        with pytest.raises(Paused):
            await waiting


async def test_a_turn_that_is_not_allowed_any_more_is_given_back():
    turns = Turns(1, spare=0)

    def check() -> None:
        raise Paused

    with pytest.raises(Paused):
        async with turns.turn(party("job"), "e", check) as turn:
            turn.sending()
    async with turns.turn(party("job"), "e", no_check):
        pass


async def test_who_gives_up_waiting_leaves_no_trace():
    turns = Turns(1, spare=0)
    async with turns.turn(party("other"), "e", no_check):
        waiting = asyncio.create_task(turns.turn(party("job"), "e", no_check).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with turns.turn(party("job"), "e", no_check):
        pass
