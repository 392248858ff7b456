"""Keeps programs running: starts them in order, restarts the fallen, ends them all."""

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType

import psutil

from stack.programs import (
    Program,
    adopt_orphans,
    descendants_of,
    kill,
    kill_all,
    kill_group,
    reap_orphans,
    spawn,
)

_TICK_SECONDS = 0.05
_IDLE_TICK_SECONDS = 0.25
"""Between looks once everything runs: a fallen program is noticed in this time."""
_FIRST_DELAY_SECONDS = 0.2
_LONGEST_DELAY_SECONDS = 10.0
_HEALTHY_SECONDS = 30.0
"""A program that ran this long before it fell is restarted without delay growing."""
_TRIES = 4
"""How often a required program that runs once is tried before the stack gives up."""

_REFUSED = 2
"""Exit status of a program that will not start as it is configured: trying again is no use."""

_Handler = Callable[[int, FrameType | None], object] | int | None

_log = logging.getLogger("stack.supervisor")


class State(StrEnum):
    """Where a supervised program stands."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    BACKING_OFF = "backing_off"
    DONE = "done"
    STOPPED = "stopped"


class Happening(StrEnum):
    """What can happen to a supervised program."""

    STARTED = "started"
    READY = "ready"
    DONE = "done"
    FELL = "fell"
    GAVE_UP = "gave_up"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a program."""

    what: Happening
    name: str
    pid: int | None = None
    status: int | None = None
    """Exit status; negative is the number of the signal that ended it."""
    restart_seconds: float | None = None
    """How long until it is started again."""


@dataclass(slots=True)
class _Child:
    program: Program
    state: State = State.WAITING
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    falls_in_a_row: int = 0
    was_ready: bool = False
    started_at: float = 0.0
    due_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one program stands now."""

    state: State
    pid: int | None
    restarts: int


class Supervisor:
    """Runs programs until told to stop; call everything but `request_stop` from one thread.

    Their output goes to files in `logs`, or where ours goes when that is None.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        logs: Path | None,
        on_event: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self._children = {program.name: _Child(program) for program in programs}
        self._logs = logs
        self._on_event = on_event
        self._asked = threading.Event()
        self._others: frozenset[psutil.Process] = frozenset()
        """Processes under ours before we began; they are not ours to end."""
        self._forced = False
        self._gave_up = False

    def request_stop(self) -> None:
        """Ask `run` to end everything and return; asked twice, it no longer waits politely."""
        self._forced = self._asked.is_set()
        self._asked.set()

    def standings(self) -> dict[str, Standing]:
        """Where every program stands, in the order given."""
        return {
            name: Standing(
                state=child.state,
                pid=child.process.pid if child.process else None,
                restarts=child.restarts,
            )
            for name, child in self._children.items()
        }

    def run(self) -> int:
        """Supervise until asked to stop or a required step gives up; 0 or 1."""
        adopt_orphans()
        self._others = frozenset(descendants_of(os.getpid()))
        before = _on_signals(self.request_stop)
        try:
            while not (self._asked.is_set() or self._gave_up):
                for child in self._children.values():
                    self._look_at(child)
                self._asked.wait(self._pause())
        finally:
            self._stop_all()
            for number, handler in before.items():
                signal.signal(number, handler)
        return 1 if self._gave_up else 0

    def _pause(self) -> float:
        settled = all(c.state in {State.READY, State.DONE} for c in self._children.values())
        if settled:
            reap_orphans(c.process.pid for c in self._children.values() if c.process)
        return _IDLE_TICK_SECONDS if settled else _TICK_SECONDS

    def _look_at(self, child: _Child) -> None:
        match child.state:
            case State.WAITING:
                if all(self._is_ready(name) for name in child.program.after):
                    self._start(child)
            case State.BACKING_OFF:
                if time.monotonic() >= child.due_at:
                    child.restarts += 1
                    self._start(child)
            case State.STARTING:
                if not self._noticed_end(child) and self._says_ready(child.program):
                    child.was_ready = True
                    self._become(child, State.READY, Happening.READY)
            case State.READY:
                self._noticed_end(child)
            case State.DONE | State.STOPPED:
                pass

    def _is_ready(self, name: str) -> bool:
        # A program that this stack does not run is somebody else's, and there already.
        child = self._children.get(name)
        return child is None or child.state in {State.READY, State.DONE}

    def _says_ready(self, program: Program) -> bool:
        if program.runs_once or not all(self._is_ready(name) for name in program.ready_with):
            return False
        return program.ready is None or program.ready()

    def _start(self, child: _Child) -> None:
        log = self._logs / f"{child.program.name}.log" if self._logs else None
        child.process = spawn(child.program, log)
        child.started_at = time.monotonic()
        self._become(child, State.STARTING, Happening.STARTED)

    def _become(self, child: _Child, state: State, what: Happening) -> None:
        child.state = state
        pid = child.process.pid if child.process else None
        self._tell(Event(what=what, name=child.program.name, pid=pid))

    def _noticed_end(self, child: _Child) -> bool:
        if child.process is None or (status := child.process.poll()) is None:
            return False
        kill_group(child.process)
        pid, child.process = child.process.pid, None
        if child.program.runs_once and status == 0:
            self._become(child, State.DONE, Happening.DONE)
        else:
            self._fell(child, pid, status)
        return True

    def _fell(self, child: _Child, pid: int, status: int) -> None:
        ran = time.monotonic() - child.started_at
        child.falls_in_a_row = 1 if ran >= _HEALTHY_SECONDS else child.falls_in_a_row + 1
        name = child.program.name
        refused = status == _REFUSED and not child.was_ready
        if refused or (child.program.runs_once and child.falls_in_a_row >= _TRIES):
            child.state = State.STOPPED
            self._gave_up = child.program.required
            self._tell(Event(what=Happening.GAVE_UP, name=name, pid=pid, status=status))
            return
        delay = min(_FIRST_DELAY_SECONDS * 2 ** (child.falls_in_a_row - 1), _LONGEST_DELAY_SECONDS)
        child.due_at = time.monotonic() + delay
        child.state = State.BACKING_OFF
        self._tell(
            Event(what=Happening.FELL, name=name, pid=pid, status=status, restart_seconds=delay)
        )

    def _tell(self, event: Event) -> None:
        known = {
            "program": event.name,
            "pid": event.pid,
            "status": event.status,
            "restart_seconds": event.restart_seconds,
        }
        level = logging.INFO
        if event.what in {Happening.FELL, Happening.GAVE_UP}:
            level = logging.WARNING
        _log.log(level, event.what, extra={k: v for k, v in known.items() if v is not None})
        self._on_event(event)

    def _stop_all(self) -> None:
        """End every program, the services that others stand on last, and whatever they left."""
        running = [child for child in self._children.values() if child.process is not None]
        for layer in (
            [child for child in running if child.program.after],
            [child for child in running if not child.program.after],
        ):
            self._stop_together(layer)
        leftover = [one for one in descendants_of(os.getpid()) if one not in self._others]
        kill_all(leftover)
        psutil.wait_procs(leftover, timeout=2)
        reap_orphans(())

    def _stop_together(self, layer: Sequence[_Child]) -> None:
        for child in layer:
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(child.program.stop_signal)
        began = time.monotonic()
        for child in layer:
            while self._may_take_longer(child, time.monotonic() - began):
                time.sleep(_TICK_SECONDS)
            self._end(child)

    def _may_take_longer(self, child: _Child, seconds: float) -> bool:
        patience = 0.0 if self._forced else child.program.stop_seconds
        return child.process is not None and child.process.poll() is None and seconds < patience

    def _end(self, child: _Child) -> None:
        if child.process is None:
            return
        if child.process.poll() is None:
            kill(child.process)
        kill_group(child.process)
        pid, status, child.process = child.process.pid, child.process.returncode, None
        child.state = State.STOPPED
        name = child.program.name
        self._tell(Event(what=Happening.STOPPED, name=name, pid=pid, status=status))


def _on_signals(stop: Callable[[], None]) -> dict[int, _Handler]:
    """Make SIGINT, SIGTERM and SIGHUP call `stop`; the handlers there were before."""

    def handler(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop()

    if threading.current_thread() is not threading.main_thread():
        return {}
    return {
        number: signal.signal(number, handler)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
