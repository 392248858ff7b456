"""The folder of a stack, its ports and its sockets."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from stack.errors import AlreadyRunningError, StackError
from stack.folder import Folder
from stack.ports import Ports
from stack.runtime import socket_directory
from stack.up import stop_running

ROOT = Path(__file__).parents[2]


def test_a_folder_is_held_by_one_and_says_where_the_other_runs(tmp_path):
    first, second = Folder(tmp_path / "x"), Folder(tmp_path / "x")
    first.hold()
    first.describe({"pid": 4711, "urls": {"api": "http://127.0.0.1:8420"}})
    with pytest.raises(AlreadyRunningError, match=r"4711.*http://127\.0\.0\.1:8420"):
        second.hold()
    assert second.is_held()
    first.release()
    assert not second.is_held()
    assert second.description() is None
    second.hold()
    second.release()


def test_who_only_looks_whether_a_folder_is_held_keeps_nobody_out(tmp_path):
    folder = Folder(tmp_path)
    folder.hold()
    folder.release()
    looking = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(looking, fcntl.LOCK_SH)  # as who looks, and is not let run for a while
    assert not folder.is_held()
    threading.Timer(0.3, os.close, [looking]).start()
    folder.hold()
    assert folder.is_held()
    folder.release()


STARTING = """
import os, signal, sys, time
from pathlib import Path
from stack.folder import Folder

folder = Folder(Path(sys.argv[1]))
folder.hold()
print("held", flush=True)
time.sleep(0.5)
folder.describe({"pid": os.getpid()})
signal.pause()
"""


def test_a_stack_that_is_stopped_before_it_has_said_who_it_is_stops_and_nobody_else(tmp_path):
    folder = Folder(tmp_path)
    stranger = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    folder.describe({"pid": stranger.pid})  # by a stack that was killed, with the same number
    starting = subprocess.Popen(
        [sys.executable, "-c", STARTING, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    try:
        assert starting.stdout is not None
        assert starting.stdout.readline() == b"held\n"
        assert stop_running(tmp_path)
        assert starting.wait(60) == -signal.SIGTERM
        assert stranger.poll() is None
    finally:
        for process in (starting, stranger):
            process.kill()
        starting.communicate()
        stranger.wait()


def test_a_process_number_used_again_is_nobodys_leftover(tmp_path):
    folder = Folder(tmp_path)
    folder.describe({"processes": {"api": {"pid": os.getpid(), "created": 1.0}}})
    assert folder.end_leftovers() == 0


def test_ports_are_remembered(tmp_path):
    Folder(tmp_path).keep_ports({"api": 9000})
    assert Folder(tmp_path).ports() == {"api": 9000}


def test_a_taken_port_is_passed_over_unless_it_was_asked_for():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert Ports().reserve(port) > port
        with pytest.raises(StackError, match=f"port {port} is taken"):
            Ports().reserve(port, strict=True)


def test_two_that_choose_at_once_choose_differently():
    first, second = Ports(), Ports()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert first.reserve(free) != second.reserve(free)


def test_sockets_of_a_deep_folder_live_in_a_short_one_that_is_always_the_same(tmp_path):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    found = socket_directory(deep)
    try:
        assert len(os.fsencode(found / ".s.PGSQL.5432.lock")) <= 103
        assert found == socket_directory(deep)
        assert found.stat().st_mode & 0o777 == 0o700
    finally:
        found.rmdir()


def test_a_short_runtime_folder_that_is_somebody_elses_is_refused(tmp_path):
    deep = tmp_path / ("y" * 100)
    deep.mkdir()
    found = socket_directory(deep)
    found.rmdir()
    found.symlink_to(tmp_path)
    try:
        with pytest.raises(PermissionError, match="belongs to another user"):
            socket_directory(deep)
    finally:
        found.unlink()
