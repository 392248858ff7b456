"""Why a worker stops working on a shard that is not finished.

* StopShard
  + Revoked      the shard was taken away: its lease ended, or another worker has it
  + Draining     this process is shutting down; the shard is handed back
  + Cancelling   the job was cancelled; calls in flight finish, no new one starts
  + Paused       the job was paused; the shard is handed back
  + Unfunded     no budget pays for the next call at the moment
  + Unsure       what the job's state is now is not known; the shard is handed back
  + NoRoom       the disk takes no note of another call; the shard is handed back
"""

from decimal import Decimal


class StopShard(Exception):  # a decision, not an error
    """No new call may start for this shard in this process."""


class Revoked(StopShard):
    """The shard belongs to somebody else now."""


class Draining(StopShard):
    """The process is going; what is in flight finishes."""


class Cancelling(StopShard):
    """The job is being cancelled."""


class Paused(StopShard):
    """The job is paused."""


class Unsure(StopShard):
    """The state of the job was not read lately: it may be paused or cancelled by now."""


class NoRoom(StopShard):
    """The spool cannot be written: a call that is not noted must not be made."""


class Unfunded(StopShard):
    """No budget pays for the next call at the moment."""

    def __init__(self, needed: Decimal, reason: str | None = None) -> None:
        super().__init__(reason or f"{needed} USD are not there")
        self.needed = needed
        self.reason = reason
        """Why no budget can pay for it, whatever it holds."""
