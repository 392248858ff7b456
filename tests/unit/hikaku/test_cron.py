import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikaku import cron
from hikaku.errors import InvalidInput

NEW_YORK = "America/New_York"


def at(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=UTC)


def test_a_line_fires_in_its_own_time_zone():
    assert cron.next_fires("30 2 * * *", "Asia/Tokyo", at(2026, 11, 21), 1) == [
        at(2026, 11, 21, 17, 30)
    ]


@pytest.mark.parametrize("after", [at(2025, 11, 1, 12), at(2025, 11, 2, 5, 30)])
def test_an_hour_that_comes_twice_fires_a_daily_line_once(after):
    fires = cron.next_fires("30 1 * * *", NEW_YORK, after - timedelta(seconds=1), 2)
    assert fires == [at(2025, 11, 2, 5, 30), at(2025, 11, 3, 6, 30)]
    assert cron.next_fires("30 1 * * *", NEW_YORK, fires[0], 1) == [fires[1]]


def test_an_hour_that_comes_twice_leaves_no_hole_in_a_line_of_every_hour():
    fires = cron.next_fires("*/20 * * * *", NEW_YORK, at(2025, 11, 2, 4, 55), 9)
    assert {b - a for a, b in itertools.pairwise(fires)} == {timedelta(minutes=20)}


def test_a_time_that_the_clocks_skip_still_fires_that_day():
    fires = cron.next_fires("30 2 * * *", NEW_YORK, at(2026, 3, 7, 12), 2)
    assert [fire.date().day for fire in fires] == [8, 9]


@pytest.mark.parametrize(
    ("line", "zone", "pointer"),
    [
        ("* * * *", "UTC", "/cron"),
        ("* * * * * *", "UTC", "/cron"),
        ("61 * * * *", "UTC", "/cron"),
        ("0 0 31 2 *", "UTC", "/cron"),
        ("0 0 * * *", "Asia/Tokio", "/time_zone"),
        ("0 0 * * *", "", "/time_zone"),
    ],
)
def test_what_cannot_be_used_is_named(line, zone, pointer):
    with pytest.raises(InvalidInput) as caught:
        cron.check(line, zone)
    assert caught.value.faults[0].pointer == pointer


@given(
    st.sampled_from(["*/5 * * * *", "0 3 * * *", "15 1 * * 0", "0 0 1 * *"]),
    st.sampled_from([NEW_YORK, "Asia/Tokyo", "Europe/Berlin", "Australia/Lord_Howe"]),
    st.integers(1_704_067_200, 1_830_297_600),
)
def test_firings_follow_each_other_wherever_one_begins(line, zone, when):
    first, second, third = cron.next_fires(line, zone, datetime.fromtimestamp(when, UTC), 3)
    assert first < second < third
    assert cron.next_fires(line, zone, first, 2) == [second, third]
    assert cron.fires_between(line, zone, first, second) == [first, second]
