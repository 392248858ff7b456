"""Programs as operating-system processes: started in a session of their own, ended whole."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import psutil

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LARGEST_LOG_BYTES = 16 * 1024 * 1024
"""A log larger than this is set aside as `<name>.log.1` when its program next starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run, and what it takes to call it running."""

    name: str
    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    """Set on top of the supervisor's own environment."""
    directory: Path | None = None
    """Working directory; None means the supervisor's."""
    uid: int | None = None
    """User and group to become; only root can ask for another than its own."""
    after: tuple[str, ...] = ()
    """Programs that must be ready (or done, if they run once) before this one starts."""
    ready_with: tuple[str, ...] = ()
    """Programs it may start beside, but is not ready without."""
    ready: Callable[[], bool] | None = None
    """Asked until it says yes, in well under a second each time; None means ready at once."""
    runs_once: bool = False
    """Ready means having ended with status 0; it is not started again after that."""
    required: bool = True
    """Whether the stack is given up when this program refuses to start, or keeps failing once."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0
    """How long it may take over a polite end before it is killed."""


def spawn(program: Program, log: Path | None) -> subprocess.Popen[bytes]:
    """Start a program; its output goes to the end of `log`, or to ours.

    On Linux the kernel sends `stop_signal` to it when the calling thread ends, however that
    happens: so call this from a thread that lives as long as the program should.
    """
    with nullcontext() if log is None else _open_log(log) as output:
        return subprocess.Popen(  # noqa: S603 - argv lists of our own making, no shell
            program.argv,
            env={**os.environ, **program.environ},
            cwd=program.directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # Runs after setuid, which would clear the setting; calls C functions and nothing else.
            preexec_fn=_die_with_parent(program.stop_signal),  # noqa: PLW1509
            user=program.uid,
            group=program.uid,
            extra_groups=() if program.uid is not None else None,
        )


def stop(process: subprocess.Popen[bytes], program: Program) -> int:
    """End a program politely, then by force, with everything it started; its exit status."""
    descendants = descendants_of(process.pid)
    if process.poll() is None:
        process.send_signal(program.stop_signal)
    with suppress(subprocess.TimeoutExpired):
        process.wait(program.stop_seconds)
    kill_group(process)
    status = process.wait()
    kill_all(descendants)
    return status


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a program with everything it started, and wait until all of it is gone."""
    descendants = descendants_of(process.pid)
    kill_group(process)
    process.wait()
    kill_all(descendants)
    psutil.wait_procs(descendants, timeout=5)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL whatever is left in the program's process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def descendants_of(pid: int) -> list[psutil.Process]:
    """Everything the process has started, at any depth; empty when it is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill_all(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL each that is still the process it was (psutil compares start times)."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def adopt_orphans() -> None:
    """Become the parent of orphaned grandchildren, so that they can be found and ended (Linux)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans(own: Iterable[int]) -> None:
    """Collect the exit status of adopted processes, never of those in `own`."""
    ours = set(own)
    for child in psutil.Process().children():
        if child.pid not in ours and child.status() == psutil.STATUS_ZOMBIE:
            with suppress(ChildProcessError):
                os.waitpid(child.pid, os.WNOHANG)


def _die_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    if _LIBC is None:
        return None
    prctl, parent = _LIBC.prctl, os.getpid()

    def ask_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        if os.getppid() != parent:  # It ended before we asked: nobody would ever tell us.
            os._exit(1)

    return ask_kernel


def _open_log(path: Path) -> BinaryIO:
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        if path.stat().st_size > _LARGEST_LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
    return path.open("ab")
