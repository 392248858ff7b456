"""What jobs that reuse completions hand over to a vendor: nothing that is bought otherwise."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hikaku.jobs import JobState
from tests.integration.test_offload import database, running, shop, totals, town, vendor
from tests.support.jobs import spec
from tests.support.workers import assert_every_cell_once

__all__ = ["database", "running", "shop", "town", "vendor"]


def job(name, rows, **changes):
    deadline = datetime.now(UTC) + timedelta(seconds=600)
    given = {"execution": "batch", "deadline": deadline, "reuse": "on"} | changes
    return spec(prompt={"template": "{{object}}"}, rows=rows, endpoints=[name], **given)


def test_equal_cells_of_a_job_are_bought_once(running, vendor):
    rows = [{"object": "みかん", "expected": "みかん"}] * 15 + [
        {"object": "かき", "expected": "x"}
    ] * 5
    job_id = running.submit(job("gpt", rows))
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert_every_cell_once(running, job_id, 20)
    assert vendor.sold() == {"みかん": 1, "かき": 1}
    assert not vendor.online
    found = totals(running, job_id)
    assert (found.calls, found.reused, found.repeated_calls) == (2, 18, 0)
    assert found.cost_usd == Decimal("0.004")
    anew = running.submit(job("gpt", rows[:3], reuse="write"))
    assert running.wait_final(anew) is JobState.COMPLETED
    assert vendor.sold()["みかん"] == 4, "without reuse, equal cells are asked each by itself"


def test_equal_cells_whose_one_request_expires_are_bought_once_online(running, vendor):
    vendor.expired = "ぶどう"
    rows = [{"object": "ぶどう", "expected": "ぶどう"}] * 12
    job_id = running.submit(job("claude", rows))
    assert running.wait_final(job_id) is JobState.COMPLETED
    assert_every_cell_once(running, job_id, 12)
    assert vendor.sold() == vendor.online == {"ぶどう": 1}
    assert totals(running, job_id).reused == 11


def test_what_is_being_asked_online_is_left_out_of_a_batch(running, vendor):
    vendor.slow = 2.0
    rows = [{"object": f"すいか{n}", "expected": "すいか"} for n in range(12)]
    first = running.submit(job("gpt", rows[:10], execution="online", deadline=None))
    running.wait(lambda: len(vendor.online) == 10, "the calls to begin")
    second = running.submit(job("gpt", rows))
    for job_id in (first, second):
        assert running.wait_final(job_id) is JobState.COMPLETED
    assert_every_cell_once(running, second, 12)
    assert sorted(vendor.sold()) == ["すいか10", "すいか11"]
    assert set(vendor.online.values()) == {1}
    assert len(vendor.online) == 10
