"""The history checker finds every kind of violation that is planted, and nothing in a clean run."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from tests.support.history import (
    Call,
    Fault,
    Harm,
    History,
    Line,
    Result,
    ShardState,
    check,
    doubled_slots,
    figures,
    late_calls,
    next_call_after,
    taken_up_after,
    too_fast,
)

CELLS = [("m", f"p{n}") for n in range(4)]
PRICE = Decimal("0.001")


def call(n, *, at=0.0, took: float | None = 0.1, status=200, caller="w.0"):
    answered = None if took is None else at + took
    return Call(cell=CELLS[n], caller=caller, at=at, answered_at=answered,
                status=None if took is None else status)  # fmt: skip


def line(n, *, epoch=1, number=1, outcome="ok"):
    bought = outcome == "ok"
    return Line(cell=CELLS[n], shard=1, epoch=epoch, number=number, outcome=outcome,
                cost=PRICE if bought else None, input_tokens=7 if bought else None,
                output_tokens=3 if bought else None)  # fmt: skip


def result(n, *, outcome="ok"):
    said = ":".join(CELLS[n]) if outcome == "ok" else None
    return Result(cell=CELLS[n], shard=1, outcome=outcome, completion=said)


def counted(**changes):
    counters = {
        "id": 1, "state": "done", "is_held": False, "outcomes": {"ok": 4, "timeout": 0},
        "calls": 4, "repeated": 0, "input_tokens": 28, "output_tokens": 12, "cost": 4 * PRICE,
        "cost_unknown": 0,
    }  # fmt: skip
    return ShardState(**{**counters, **changes})


CLEAN = History(
    planned=CELLS,
    calls=[call(n) for n in range(4)],
    ledger=[line(n) for n in range(4)],
    results=[result(n) for n in range(4)],
    shards=[counted()],
    job_state="completed",
    shown_calls=4,
    shown_repeated=0,
    shown_cost=4 * PRICE,
)

KILL = Fault(harm=Harm.KILLED, caller="w.0", at=5.0, most=2)

KILLED = replace(
    CLEAN,
    calls=[*CLEAN.calls[:3], call(3, at=4.9, took=None), call(3, at=9.0, caller="w.1")],
    ledger=[*CLEAN.ledger[:3], line(3, outcome="unknown"), line(3, epoch=2)],
    shards=[counted(calls=5, repeated=1, cost_unknown=1)],
    shown_calls=5,
    shown_repeated=1,
    faults=[KILL],
)
"""A worker died with one call in flight, which another made again."""


def of(history: History) -> list[str]:
    return [violation.invariant for violation in check(history)]


def test_a_clean_run_has_no_violation():
    assert check(CLEAN) == []
    assert (figures(CLEAN).lost, figures(CLEAN).repeated, figures(CLEAN).hidden) == (0, 0, 0)


def test_a_call_in_flight_at_a_kill_may_be_made_again_and_is_shown():
    assert check(KILLED) == []
    assert (figures(KILLED).repeated, figures(KILLED).bound) == (1, 1)
    assert taken_up_after(KILLED, KILL) == pytest.approx(4.0)
    assert next_call_after(KILLED, KILL) == pytest.approx(4.0)
    assert next_call_after(CLEAN, KILL) is None


def test_a_failure_allows_another_call():
    failed = line(0, outcome="rate_limited")
    history = replace(
        CLEAN,
        calls=[call(0, status=429), *CLEAN.calls],
        ledger=[failed, line(0, number=2), *CLEAN.ledger[1:]],
        shards=[counted(calls=5)],
        shown_calls=5,
    )
    assert check(history) == []


PLANTED: dict[str, tuple[str, Callable[[], History]]] = {
    "a lost cell": ("I1", lambda: replace(
        CLEAN, results=CLEAN.results[:3], shards=[counted(outcomes={"ok": 3})])),
    "a doubled cell": ("I1", lambda: replace(
        CLEAN, results=[*CLEAN.results, result(0)], shards=[counted(outcomes={"ok": 5})])),
    "another cell's answer": ("I1", lambda: replace(
        CLEAN, results=[*CLEAN.results[:3], replace(result(3), completion="m:p0")])),
    "an answer nobody gave": ("I1", lambda: replace(
        CLEAN, calls=[*CLEAN.calls[:3], call(3, status=500)])),
    "a result of no cell": ("I1", lambda: replace(CLEAN, planned=CELLS[:3])),
    "a call repeated without a fault": ("I2", lambda: replace(
        CLEAN, calls=[*CLEAN.calls, call(0)], ledger=[*CLEAN.ledger, line(0, epoch=2)],
        shards=[counted(calls=5, repeated=1, input_tokens=35, output_tokens=15, cost=5 * PRICE)],
        shown_calls=5, shown_repeated=1, shown_cost=5 * PRICE)),
    "a repeated call of an answer that was long safe": ("I2", lambda: replace(
        KILLED, calls=[call(n) for n in range(4)] + [call(3, at=9.0, caller="w.1")])),
    "a call of a worker that was left in peace": ("I2", lambda: replace(
        KILLED, faults=[replace(KILL, caller="w.7")])),
    "a hidden call": ("I2", lambda: replace(
        KILLED, ledger=[*CLEAN.ledger[:3], line(3, epoch=2)], shards=[counted()], shown_calls=4)),
    "a repeated call that is not shown": ("I2", lambda: replace(KILLED, shown_repeated=0)),
    "a job that never ends": ("I3", lambda: replace(CLEAN, job_state="running")),
    "a failure in a job without errors": ("I3", lambda: replace(
        CLEAN, results=[*CLEAN.results[:3], result(3, outcome="timeout")],
        shards=[counted(outcomes={"ok": 3, "timeout": 1})])),
    "a wrong counter of outcomes": ("I4", lambda: replace(
        CLEAN, shards=[counted(outcomes={"ok": 3})])),
    "a wrong counter of calls": ("I4", lambda: replace(CLEAN, shards=[counted(calls=3)])),
    "a cost that is not that of the ledger": ("I4", lambda: replace(
        CLEAN, shards=[counted(cost=PRICE)])),
    "a cost that is not shown": ("I4", lambda: replace(CLEAN, shown_cost=PRICE)),
    "a shard that nobody runs": ("I5", lambda: replace(
        CLEAN, job_state="running", shards=[counted(state="running")])),
    "a shard left open": ("I5", lambda: replace(
        CLEAN, shards=[counted(state="queued")])),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_violation_is_found(planted):
    invariant, make = PLANTED[planted]
    assert invariant in of(make())


def test_a_frozen_worker_is_excused_for_what_nobody_could_read():
    zombie = replace(KILL, harm=Harm.SHUT_OUT)
    answered = replace(KILLED, calls=[*CLEAN.calls[:3], call(3, at=4.8), *KILLED.calls[4:]])
    assert check(replace(answered, faults=[zombie])) == []


def test_a_frozen_worker_is_not_excused_for_what_it_asked_when_it_woke():
    zombie = replace(KILL, harm=Harm.SHUT_OUT)
    awake = [*CLEAN.calls[:3], call(3, at=9.0), call(3, at=9.5, caller="w.1")]
    assert of(replace(KILLED, calls=awake, faults=[zombie])) == ["I2"]
    cut_off = replace(zombie, asks_until=9.2)
    assert of(replace(KILLED, calls=awake, faults=[cut_off])) == []


def test_an_answer_that_its_asker_slept_through_is_a_failure_and_shown_as_one():
    history = replace(
        KILLED,
        calls=[*CLEAN.calls[:3], call(3, at=4.9), call(3, at=30.0, caller="w.1")],
        ledger=[*CLEAN.ledger[:3], line(3, outcome="timeout"), line(3, epoch=2)],
        shards=[counted(calls=5, cost_unknown=1)],
        shown_repeated=0,
        faults=[replace(KILL, harm=Harm.SHUT_OUT)],
    )
    assert check(history) == []
    assert of(replace(history, faults=[])) == ["I2"], "without a fault it is one call too many"


def test_more_repeats_than_a_worker_can_have_in_flight_are_not_excused():
    calls = [call(n, at=4.9, took=None) for n in range(4)]
    again = [call(n, at=9.0, caller="w.1") for n in range(4)]
    ledger = [line(n, outcome="unknown") for n in range(4)] + [line(n, epoch=2) for n in range(4)]
    history = replace(
        KILLED,
        calls=calls + again,
        ledger=ledger,
        shards=[counted(calls=8, repeated=4, cost_unknown=4)],
        shown_calls=8,
        shown_repeated=4,
    )
    assert of(history) == ["I2"]


def test_a_call_after_the_cancellation_is_found():
    assert late_calls([call(0, at=3.0)], cancelled_at=2.0, grace=2.0) == []
    assert [v.invariant for v in late_calls([call(0, at=4.1)], 2.0, 2.0)] == ["I8"]


def test_a_burst_over_the_limit_is_found():
    steady = [call(0, at=n / 10) for n in range(50)]
    assert too_fast(steady, per_second=10, burst=2.5) == []
    assert [v.invariant for v in too_fast(steady * 2, per_second=10, burst=2.5)] == ["I7"]


def test_a_slot_fired_twice_and_one_without_a_job_are_found():
    assert doubled_slots([("s", "t1", "j1"), ("s", "t2", "j2")], jobs=2) == []
    assert doubled_slots([("s", "t1", "j1"), ("s", "t1", "j2")], jobs=2)
    assert doubled_slots([("s", "t1", "j1"), ("s", "t2", None)], jobs=1)
    assert doubled_slots([("s", "t1", "j1")], jobs=2)
