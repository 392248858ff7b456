"""Why a worker stops working on a shard that is not finished.

* StopShard
  + Revoked      the shard was taken away: its lease ended, or another worker has it
  + Draining     this process is shutting down; the shard is handed back
  + Cancelling   the job was cancelled; calls in flight finish, no new one starts
  + Unfunded     no budget pays for the next call at the moment
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


class Unfunded(StopShard):
    """No budget pays for the next call at the moment."""

    def __init__(self, needed: Decimal) -> None:
        super().__init__(f"{needed} USD are not there")
        self.needed = needed
