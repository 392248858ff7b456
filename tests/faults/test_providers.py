"""The provider limits, breaks, hangs, cuts and garbles: every cell ends once and all is counted."""

from hikaku.jobs import JobState

CELLS = 150

STORM = {
    "limited": 0.15, "broken": 0.1, "reset": 0.05, "hung": 0.01, "cut": 0.03, "garbled": 0.03,
    "retry_after": "0",
}  # fmt: skip


def test_a_storm_at_the_provider_and_a_killed_worker_end_every_cell_once(place):
    victim, _ = place.workers(2)
    place.mood(seed=4, **STORM)
    job = place.submit(CELLS, endpoints=["a", "b"])
    place.wait_done(job, CELLS // 2)
    place.kill(victim)
    place.workers(2)
    assert place.wait_final(job) in {JobState.COMPLETED, JobState.COMPLETED_WITH_ERRORS}
    found = place.verify(job)
    assert found.failures > 0


def test_a_provider_that_is_away_for_a_while_ends_every_cell_once(place):
    place.workers(2)
    place.mood(seconds=1)  # long enough a job that it is not over before the provider breaks
    job = place.submit(CELLS)
    place.wait_done(job, CELLS // 4)
    place.mood(reset=0.5, broken=0.5)
    place.wait_calls(30)
    place.mood()
    # A slow machine may take longer to end the storm than a cell has attempts.
    assert place.wait_final(job) in {JobState.COMPLETED, JobState.COMPLETED_WITH_ERRORS}
    found = place.verify(job)
    assert found.failures > 0
