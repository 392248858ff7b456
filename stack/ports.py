"""Free TCP ports on loopback, held so that two stacks starting together never choose the same."""

import fcntl
import os
import socket
import tempfile
from pathlib import Path

from stack.errors import StackError

_SEARCHED = 200
"""How many numbers from the preferred one on are tried."""


class Ports:
    """Reserves ports for as long as this process lives."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._host = host
        self._locks: list[int] = []

    def reserve(self, preferred: int, *, strict: bool = False) -> int:
        """Give the preferred port, or the next free one.

        Raises:
            StackError: `strict` and the port is taken, or a long run of ports is taken.
        """
        last = preferred if strict else min(preferred + _SEARCHED, 65_535)
        for port in range(preferred, last + 1):
            if self._take(port):
                return port
        raise StackError(f"port {preferred} is taken; name another with --port or stop its user")

    def _take(self, port: int) -> bool:
        if not is_free(self._host, port):
            return False
        name = f"hikaku-port-{port}.{os.getuid()}.lock"
        lock = os.open(Path(tempfile.gettempdir()) / name, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return False
        self._locks.append(lock)
        return True


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
