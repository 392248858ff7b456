"""The supervisor over real processes: restarts, order, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

from stack.programs import Program
from stack.supervisor import Event, Happening, State, Supervisor

SLEEP = "import time; time.sleep(600)"
ROOT = Path(__file__).parents[2]


def program(name, code, **options):
    return Program(name=name, argv=(sys.executable, "-c", code), **options)


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def ended(pid):
    """Gone, or only waiting for whoever has adopted it to look."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Running:
    """A supervisor in a process of its own, as `hikaku up` has it."""

    def __init__(self, directory: Path, programs: str) -> None:
        self.directory = directory
        script = textwrap.dedent(f"""
            import logging, os, sys
            from pathlib import Path
            from hikaku.logs import configure
            from stack.programs import Program
            from stack.supervisor import Supervisor
            configure()
            def program(name, code, **options):
                return Program(name=name, argv=(sys.executable, "-c", code), **options)
            sys.exit(Supervisor({programs}, logs=Path({str(directory)!r})).run())
        """)
        with (directory / "stack.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", script], cwd=ROOT, stderr=log, start_new_session=True
            )

    def events(self):
        text = (self.directory / "stack.log").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def pids(self, directory_file):
        path = self.directory / directory_file
        return [int(line) for line in path.read_text().split()] if path.exists() else []


def supervise(programs, logs, until):
    """Run a supervisor here until the condition over its events holds."""
    seen: list[Event] = []
    supervisor, over = Supervisor(programs, logs=logs, on_event=seen.append), threading.Event()

    def watch():
        deadline = time.monotonic() + 90
        while not until(seen) and time.monotonic() < deadline and not over.wait(0.02):
            pass
        supervisor.request_stop()

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = supervisor.run()
    over.set()
    watcher.join()
    return status, seen, supervisor


def happened(seen, what, name):
    return [event for event in seen if event.what is what and event.name == name]


def test_programs_start_in_order_and_only_when_the_earlier_are_ready(tmp_path):
    flag = tmp_path / "flag"
    service = program(
        "service",
        f"import time, pathlib; time.sleep(.3); pathlib.Path({str(flag)!r}).touch(); {SLEEP}",
        ready=flag.exists,
    )
    step = program("step", "print('done')", after=("service",), runs_once=True)
    last = program("last", SLEEP, after=("step",))
    status, seen, supervisor = supervise(
        [last, step, service], tmp_path, lambda e: happened(e, Happening.READY, "last")
    )
    order = [(e.what, e.name) for e in seen if e.what is not Happening.STOPPED]
    assert order == [
        (Happening.STARTED, "service"),
        (Happening.READY, "service"),
        (Happening.STARTED, "step"),
        (Happening.DONE, "step"),
        (Happening.STARTED, "last"),
        (Happening.READY, "last"),
    ]
    assert status == 0
    assert {s.state for s in supervisor.standings().values()} == {State.DONE, State.STOPPED}
    assert (tmp_path / "step.log").read_text() == "done\n"


def test_a_program_is_not_ready_without_those_it_is_ready_with(tmp_path):
    slow = program("slow", "import time; time.sleep(.5)", runs_once=True)
    beside = program("beside", SLEEP, ready_with=("slow",))
    _, seen, _ = supervise(
        [beside, slow], tmp_path, lambda e: happened(e, Happening.READY, "beside")
    )
    names = [(e.what, e.name) for e in seen]
    assert names.index((Happening.DONE, "slow")) < names.index((Happening.READY, "beside"))


def test_a_killed_program_is_started_again_and_it_is_said(tmp_path):
    killed: list[int] = []

    def until(seen):
        ready = happened(seen, Happening.READY, "worker")
        if len(ready) == 1 and not killed:
            killed.append(ready[0].pid)
            os.kill(ready[0].pid, signal.SIGKILL)
        return len(ready) == 2

    _, seen, supervisor = supervise([program("worker", SLEEP)], tmp_path, until)
    fell = happened(seen, Happening.FELL, "worker")
    assert [(e.pid, e.status) for e in fell] == [(killed[0], -signal.SIGKILL)]
    assert supervisor.standings()["worker"].restarts == 1


def test_a_program_that_keeps_falling_is_started_more_and_more_slowly(tmp_path):
    _, seen, _ = supervise(
        [program("weak", "raise SystemExit(3)")],
        tmp_path,
        lambda e: len(happened(e, Happening.FELL, "weak")) >= 4,
    )
    fell = happened(seen, Happening.FELL, "weak")[:4]  # Who looks late finds more.
    assert [e.status for e in fell] == [3, 3, 3, 3]
    assert [e.restart_seconds for e in fell] == [0.2, 0.4, 0.8, 1.6]


def test_a_program_that_refuses_its_configuration_is_not_tried_again(tmp_path):
    events: list[Event] = []
    refusing = program("api", "raise SystemExit(2)", ready=lambda: False)
    assert Supervisor([refusing], logs=tmp_path, on_event=events.append).run() == 1
    assert [event.what for event in events] == [Happening.STARTED, Happening.GAVE_UP]


def test_a_required_step_that_keeps_failing_ends_the_stack_with_status_1(tmp_path):
    status, seen, _ = supervise(
        [program("migrations", "raise SystemExit(1)", runs_once=True), program("db", SLEEP)],
        tmp_path,
        lambda _: False,
    )
    assert status == 1
    assert happened(seen, Happening.GAVE_UP, "migrations")
    assert happened(seen, Happening.STOPPED, "db")


GRANDCHILDREN = """
import os, pathlib, subprocess, sys
code = 'import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)'
a = subprocess.Popen([sys.executable, '-c', code])
b = subprocess.Popen([sys.executable, '-c', code], start_new_session=True)
pathlib.Path('PIDS').write_text(f'{os.getpid()} {a.pid} {b.pid}')
import time; time.sleep(600)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_after_a_signal_nothing_is_left_not_even_grandchildren_in_other_sessions(tmp_path, number):
    code = GRANDCHILDREN.replace("PIDS", str(tmp_path / "pids"))
    running = Running(tmp_path, f"[program('parent', {code!r})]")
    wait_until(lambda: len(running.pids("pids")) == 3)
    wait_until(lambda: "ready" in [event["event"] for event in running.events()])
    running.process.send_signal(number)
    assert running.process.wait(90) == 0
    assert [pid for pid in running.pids("pids") if not ended(pid)] == []
    assert [e["event"] for e in running.events()] == ["started", "ready", "stopped"]


def test_a_program_that_does_not_end_politely_is_killed(tmp_path):
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"open({str(tmp_path / 'up')!r}, 'w').close(); time.sleep(600)"
    )
    _, seen, _ = supervise(
        [program("stubborn", stubborn, ready=(tmp_path / "up").exists, stop_seconds=0.3)],
        tmp_path,
        lambda e: happened(e, Happening.READY, "stubborn"),
    )
    assert [e.status for e in happened(seen, Happening.STOPPED, "stubborn")] == [-signal.SIGKILL]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help exists on Linux only")
def test_programs_end_with_a_supervisor_that_is_killed(tmp_path):
    code = f"import os; open({str(tmp_path / 'pids')!r}, 'w').write(str(os.getpid())); {SLEEP}"
    running = Running(tmp_path, f"[program('child', {code!r})]")
    wait_until(lambda: running.pids("pids"))
    running.process.kill()
    running.process.wait()
    [pid] = running.pids("pids")
    wait_until(lambda: ended(pid))


ORPHANED = """
import os, signal
from stack.programs import _die_with_parent
ask_kernel = _die_with_parent(signal.SIGTERM)
if (between := os.fork()) == 0:
    if (orphan := os.fork()) == 0:
        ask_kernel()
        os._exit(0)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(orphan, 0)[1]))
print(os.waitstatus_to_exitcode(os.waitpid(between, 0)[1]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help exists on Linux only")
def test_a_program_whose_supervisor_is_gone_before_it_begins_does_not_begin():
    done = subprocess.run(
        [sys.executable, "-c", ORPHANED], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1\n"
