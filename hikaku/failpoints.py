"""Named places at which a test may have this process die or freeze; in service none is armed.

`HIKAKU_FAILPOINTS=in_copy:kill@3,after_claim:stop` kills the process (SIGKILL) when it passes
`in_copy` for the third time, and freezes it (SIGSTOP) at its first claim. A place that is not
armed costs one look at an empty dictionary.
"""

import os
import signal
import threading
import time
from dataclasses import dataclass
from enum import StrEnum

from hikaku.errors import InvalidInput


class Point(StrEnum):
    """The places, in the order in which a job meets them."""

    IN_SUBMIT = "in_submit"
    """A job is stored and not committed."""
    BEFORE_PUBLISH = "before_publish"
    """Shards are committed, and no hint of them is on the broker."""
    IN_FIRE = "in_fire"
    """A slot has its job, and neither is committed."""
    IN_CLAIM = "in_claim"
    """A shard is claimed and not committed."""
    AFTER_CLAIM = "after_claim"
    """A claim is committed, and its claimant has not noted it."""
    IN_HEARTBEAT = "in_heartbeat"
    """A lease is renewed and not committed."""
    BEFORE_CALL = "before_call"
    """A call is in the spool and not on the wire."""
    AFTER_CALL_BEFORE_SPOOL = "after_call_before_spool"
    """An answer has come and is nowhere but in memory."""
    AFTER_SPOOL_BEFORE_COPY = "after_spool_before_copy"
    """An answer is in the spool and not in Postgres."""
    IN_COPY = "in_copy"
    """Results are sent, their calls and scores are not, and nothing is committed."""
    AFTER_COPY_BEFORE_COMMIT = "after_copy_before_commit"
    """Results are sent and counted, and not committed."""
    AFTER_COMMIT_BEFORE_FORGET = "after_commit_before_forget"
    """Results are in Postgres, and in the spool still."""
    BEFORE_COMPLETE = "before_complete"
    """All results of a shard are in Postgres, and the shard is running."""
    IN_COMPLETE = "in_complete"
    """A shard is done and not committed."""
    AFTER_COMPLETE = "after_complete"
    """A shard is done and its worker still calls it its own."""
    IN_CLOSE = "in_close"
    """A job is closed and not committed."""
    IN_DRAIN = "in_drain"
    """The process has been asked to stop; calls are in flight."""
    IN_HAND_BACK = "in_hand_back"
    """A shard is handed back and not committed."""
    IN_REAP = "in_reap"
    """Shards are taken from a dead worker, and not committed."""
    AFTER_HAND_OVER = "after_hand_over"
    """A vendor has taken a batch of cells, and its id for it is not noted."""
    IN_WRITE_BATCH = "in_write_batch"
    """The files of a batch are written and not committed."""
    ADOPT_AFTER_LOCK = "adopt_after_lock"
    """A dead worker's spool is ours, and not read."""
    ADOPT_BEFORE_REMOVE = "adopt_before_remove"
    """A dead worker's spool is in Postgres, and still on the disk."""


_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(slots=True)
class _Trap:
    signal: signal.Signals
    passages: int
    """How many are left; at 0 it springs."""


_armed: dict[Point, _Trap] = {}
_counting = threading.Lock()


def arm(plan: str) -> None:
    """Arm points for the rest of this process's life; an empty plan disarms all.

    Raises:
        InvalidInput: The plan names a point or an action that there is not.
    """
    traps = dict(_trap(part) for part in plan.split(",") if part)
    _armed.clear()
    _armed.update(traps)


def reach(point: Point) -> None:
    """Pass a point; the process may not live to see this return."""
    if _armed:
        _pass(point)


def _trap(text: str) -> tuple[Point, _Trap]:
    name, _, action = text.partition(":")
    verb, _, count = action.partition("@")
    passages = count or "1"
    if name not in set(Point) or verb not in _SIGNALS or not passages.isdigit() or passages == "0":
        raise InvalidInput(f"HIKAKU_FAILPOINTS: {text!r} is not `point:kill@n` or `point:stop@n`")
    return Point(name), _Trap(_SIGNALS[verb], int(passages))


def _pass(point: Point) -> None:
    with _counting:
        trap = _armed.get(point)
        if trap is None:
            return
        trap.passages -= 1
        if trap.passages != 0:
            return
        # Before the signal, as nothing is after it: tests read the moment from here.
        os.write(2, f"failpoint {point} reached at {time.time():.6f}\n".encode())
        os.kill(os.getpid(), trap.signal)
