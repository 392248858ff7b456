"""Locks on files, which the kernel lets go when their holder ends, however that happens."""

import fcntl
import time

_AGAIN_SECONDS = 0.02
"""Between two tries."""


def lock(file: int, patience: float) -> bool:
    """Lock an open file for this process alone.

    Args:
        file: Its descriptor; of a directory too.
        patience: Seconds that somebody else may keep the lock.

    Returns:
        Whether it is ours now.
    """
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(_AGAIN_SECONDS)
        else:
            return True
