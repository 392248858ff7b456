"""Whose shard is next, asked of Postgres."""

from collections import Counter

import pytest

from hikaku.ids import new_uuid
from hikaku.storage import claims, projects
from tests.support.jobs import spec, store
from tests.support.workers import numbered_rows


@pytest.fixture
def large(sessions):
    def stored(project="default", **changes):
        job = spec(rows=numbered_rows(600), endpoints=["a"], project=project, **changes)
        return store(sessions, job, ["a"]).job_id

    return stored


def take(sessions, n=1, *, idle=False):
    found = []
    for _ in range(n):
        with sessions.begin() as session:
            found.append(claims.claim_next(session, new_uuid(), idle=idle))
    return [claim.job_id if claim else None for claim in found]


def test_what_is_claimed_divides_by_the_weights_of_projects(sessions, large):
    with sessions.begin() as session:
        projects.put(session, "heavy", weight=3)
    heavy, light = large("heavy"), large("light")
    assert Counter(take(sessions, 16)) == {heavy: 12, light: 4}


def test_many_jobs_of_a_project_share_what_one_job_of_another_has_alone(sessions, large):
    many, one = [large("many") for _ in range(4)], large("one")
    shares = Counter(take(sessions, 16))
    assert shares == {one: 8} | dict.fromkeys(many, 2)


def test_a_job_that_comes_later_is_next(sessions, large):
    first = large()
    assert set(take(sessions, 10)) == {first}
    later = large()
    assert take(sessions, 3) == [later] * 3


def test_the_first_priority_of_a_project_goes_first_and_overtakes_no_other_project(sessions, large):
    usual, urgent, other = large("a"), large("a", priority=0), large("b")
    assert Counter(take(sessions, 8)) == {urgent: 4, other: 4}
    assert usual not in take(sessions, 8)


def test_of_equals_the_one_goes_next_that_was_served_longest_ago(sessions, large):
    jobs = {large("a"), large("b"), large("c")}
    for _ in range(3):
        assert set(take(sessions, 3)) == jobs


def test_only_jobs_without_a_full_shard_at_work_are_idle(sessions, large):
    busy, low = large(), large(priority=9)
    take(sessions, 8)
    assert take(sessions, idle=True) == [None], "the other waits for its priority"
    new = large("other")
    asked = take(sessions, 8, idle=True)
    assert asked[0] == new
    assert asked[-1] is None
    assert {busy, low} & set(asked) == set()
