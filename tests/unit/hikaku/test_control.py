import pytest
from hypothesis import given
from hypothesis import strategies as st

from hikaku.errors import Conflict
from hikaku.jobs import Control, JobState, after

STATES = st.sampled_from(JobState)
CONTROLS = st.sampled_from(Control)
ALIVE = {JobState.QUEUED, JobState.RUNNING, JobState.PAUSED}


def moved(control: Control, state: JobState) -> JobState | None:
    try:
        return after(control, state)
    except Conflict:
        return None


def refusal(control: Control, state: JobState) -> str | None:
    try:
        after(control, state)
    except Conflict as refused:
        return str(refused)
    return None


@given(control=CONTROLS, state=STATES)
def test_a_control_leads_somewhere_or_says_what_to_do_instead(control, state):
    said = refusal(control, state)
    if said is not None:
        assert said.startswith(f"the job is {state}, which does not allow {control}: ")


@given(
    control=st.sampled_from([Control.PAUSE, Control.RESUME, Control.CANCEL, Control.EXTEND]),
    state=STATES,
)
def test_a_control_that_is_repeated_changes_nothing(control, state):
    once = moved(control, state)
    if once is not None:
        assert moved(control, once) == once


@given(state=STATES)
def test_what_is_paused_can_be_resumed_and_what_lives_can_be_cancelled(state):
    paused = moved(Control.PAUSE, state)
    assert (paused is None) == (state not in ALIVE)
    if paused is not None:
        assert moved(Control.RESUME, paused) is JobState.RUNNING
        assert moved(Control.CANCEL, paused) is JobState.CANCELLING


@given(state=STATES)
def test_only_what_has_ended_is_taken_up_again(state):
    assert (moved(Control.RETRY, state) is not None) == state.is_final
    assert moved(Control.RETRY, state) in {None, JobState.QUEUED}


@given(steps=st.lists(CONTROLS, max_size=8), state=STATES)
def test_no_control_makes_a_job_look_complete(steps, state):
    for control in steps:
        then = moved(control, state)
        assert then is None or then == state or not then.is_final
        state = then or state


@pytest.mark.parametrize("state", [JobState.CANCELLING, JobState.CANCELLED])
def test_what_was_cancelled_is_not_extended(state):
    with pytest.raises(Conflict, match="submit a new job"):
        after(Control.EXTEND, state)
