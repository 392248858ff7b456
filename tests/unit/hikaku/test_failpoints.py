"""Failpoints: nothing where nothing is armed, and the nth passage where it is."""

import subprocess
import sys

import pytest

from hikaku.errors import InvalidInput
from hikaku.failpoints import Point, arm, reach


@pytest.fixture(autouse=True)
def disarmed():
    yield
    arm("")


def test_a_point_that_is_not_armed_is_passed():
    arm("in_copy:kill@2")
    reach(Point.IN_CLAIM)
    reach(Point.IN_COPY)  # the first of two


def test_the_process_dies_at_the_passage_that_was_named_and_says_so():
    program = (
        "from hikaku.failpoints import *\n"
        "arm('in_claim:kill@9,in_copy:kill@2')\n"
        "for n in range(5): print(n, flush=True); reach(Point.IN_COPY)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == -9
    assert done.stdout.split() == ["0", "1"]
    assert done.stderr.startswith("failpoint in_copy reached at ")


@pytest.mark.parametrize(
    "plan", ["in_cpy:kill", "in_copy", "in_copy:hurt", "in_copy:kill@0", "in_copy:kill@x"]
)
def test_a_plan_that_means_nothing_is_refused(plan):
    with pytest.raises(InvalidInput, match="HIKAKU_FAILPOINTS"):
        arm(plan)
