"""What one endpoint will need: its time, and how many cells are left of a sample."""

import random
from decimal import Decimal

import pytest

from hikaku.estimation import Stratum
from hikaku.jobs import Outcome
from hikaku.needs import Left, Pace, Part, left
from hikaku.storage.pilots import Tried
from hikaku.storage.unbought import Unbought

NO_LIMIT = Pace()


def answered(latency_ms=300.0, tokens=10, *, reused=False):
    return Tried(
        outcome=Outcome.OK,
        calls=0 if reused else 1,
        input_tokens=tokens,
        output_tokens=tokens,
        latency_ms=latency_ms,
        cost_usd=Decimal(tokens),
        reused=reused,
    )


def told(n_rows, *, pace=NO_LIMIT, share=400.0, latency_ms=300.0, **changes):
    rows = tuple(range(min(n_rows, 20)))
    part = Part(
        strata=[Stratum(size=n_rows, rows=rows)],
        tried=dict.fromkeys(rows, answered(latency_ms)),
        tariff=None,
        **({"repeats": 1} | changes),
    )
    return part.told("a", pace, share)


@pytest.mark.parametrize(("n_rows", "latency_ms", "came"), [(30, 300, 0.36), (10, 20_000, 20.2)])
def test_a_job_lasts_at_least_as_long_as_a_call(n_rows, latency_ms, came):
    found = told(n_rows, latency_ms=latency_ms)
    assert found["seconds"]["value"] >= latency_ms / 1000
    assert found["seconds"]["low"] <= came <= found["seconds"]["high"]
    assert found["in_flight"] == n_rows


@pytest.mark.parametrize(
    ("pace", "least"),
    [(Pace(concurrency=2), 15.0), (Pace(rpm=60), 99.0), (Pace(tpm=60), 1999.0), (NO_LIMIT, 0.3)],
)
def test_limits_hold_a_job_up(pace, least):
    found = told(100, pace=pace)["seconds"]
    assert found["low"] == least
    assert found["low"] <= found["value"] < found["high"]


def test_what_a_vendors_batch_answers_has_no_time():
    assert told(100, batch_factor=Decimal("0.5"))["seconds"] is None
    assert told(100, batch_factor=Decimal("0.5"))["cost_usd"]["value"] == "500"


def test_nothing_left_is_nothing_needed():
    found = told(100, left=Left(cells=[0]))
    assert found["calls"] == {"value": 0, "low": 0, "high": 0}
    assert found["cost_usd"]["high"] == "0"
    assert (found["seconds"]["value"], found["seconds"]["high"]) == (0, 1.0)


def test_a_sample_that_shows_nothing_to_buy_does_not_say_that_there_is_nothing():
    strata = [Stratum(size=1000, rows=tuple(range(20)))]
    found = told(1000, left=left(Unbought(), strata, [range(100)], 1))
    assert found["calls"] == {"value": 0, "low": 0, "high": 30}


@pytest.mark.parametrize("n_different", [1, 10, 100, 5_000, 10_000])
def test_a_sample_with_equal_cells_tells_an_interval_that_holds_the_number(n_different):
    strata = [Stratum(size=5_000, rows=()), Stratum(size=5_000, rows=())]
    chance = random.Random(3)  # noqa: S311 - a sample, no secret
    looked = [chance.sample(range(first, first + 5_000), 500) for first in (0, 5_000)]
    found = Unbought()
    times: dict[int, int] = {}
    for row in (row for part in looked for row in part):
        digest = row % n_different
        if digest not in times:
            found.by_row[row] = 1
        times[digest] = times.get(digest, 0) + 1
    found.n_once = sum(n == 1 for n in times.values())
    found.n_again = len(times) - found.n_once
    told_left = left(found, strata, looked, 1)
    assert told_left.factor is not None
    low, high = (
        sum(told_left.cells) * end for end in (told_left.factor.low, told_left.factor.high)
    )
    assert low <= n_different <= high
