"""A TCP port in front of a Unix socket, which can be slow or silent: a bad wire on demand."""

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class Relay:
    """Forwards connections until it is told to swallow what it gets."""

    def __init__(self, target: Path, host: str = "127.0.0.1") -> None:
        self._target = str(target)
        self._listening = socket.create_server((host, 0), backlog=256)
        self.port: int = self._listening.getsockname()[1]
        self._silent = threading.Event()
        self._delay = self._stall = self._often = 0.0
        self._chance = random.Random(7)  # noqa: S311
        self._pairs: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def go_silent(self) -> None:
        """Keep every connection, take new ones, and forward nothing: no reset tells anybody."""
        self._silent.set()

    def be_bad(self, *, delay: float, stall: float, often: float) -> None:
        """Forward late, and now and then much later, as TCP does over a wire that loses packets.

        Args:
            delay: Seconds, of each piece.
            stall: Seconds that a sender waits before it sends again what was lost.
            often: Share of the pieces that are lost.
        """
        self._delay, self._stall, self._often = delay, stall, often

    def leave_half_open(self) -> None:
        """Forward new connections; those of before stay as they are, and nobody resets them."""
        self._silent = threading.Event()

    def heal(self) -> None:
        """Forward again; who was cut off meanwhile is reset."""
        self._silent.clear()
        for one in list(self._pairs):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listening.close()
        self.heal()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            self._pairs |= {near, far}
            try:
                far.connect(self._target)
            except OSError:  # the service is away: so are we
                self._drop(near, far)
                continue
            for source, sink in ((near, far), (far, near)):
                pump = (source, sink, self._silent)
                threading.Thread(target=self._pump, args=pump, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, silent: threading.Event) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                if self._delay:
                    lost = self._chance.random() < self._often
                    time.sleep(self._stall if lost else self._delay)
                if not silent.is_set():
                    sink.sendall(chunk)
        self._drop(source, sink)

    def _drop(self, *ends: socket.socket) -> None:
        for end in ends:
            self._pairs.discard(end)
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def relay(target: Path, host: str = "127.0.0.1") -> Iterator[Relay]:
    made = Relay(target, host)
    try:
        yield made
    finally:
        made.close()
