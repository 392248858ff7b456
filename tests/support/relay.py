"""A TCP port in front of a Unix socket, which can go silent: a half-open connection on demand."""

import socket
import threading
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
        self._pairs: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def go_silent(self) -> None:
        """Keep every connection, take new ones, and forward nothing: no reset tells anybody."""
        self._silent.set()

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
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                if not self._silent.is_set():
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
