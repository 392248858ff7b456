"""`hikaku up` as a process with everything real but MLflow and the models, which cost time."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.support.services import short_directory

ROOT = Path(__file__).parents[2]
READY_SECONDS = 120
"""The product promises less; a busy test machine gets more."""


class Stack:
    """One `hikaku up` in a folder of its own."""

    def __init__(
        self, directory: Path, *, script: str | None = None, environ: dict[str, str] | None = None
    ):
        self.directory = directory
        self.output = directory / "screen.txt"
        self._command = [sys.executable, "-c", script] if script else [
            sys.executable, "-m", "stack.commands", "up", "--workers", "1",
            "--without", "mlflow", "--without", "models",
        ]  # fmt: skip
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HIKAKU_", "MLFLOW_"))}
        self.environ = {**kept, "PYTHONPATH": str(ROOT), **(environ or {})}
        self.start()

    def start(self):
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self._command, cwd=self.directory, env=self.environ, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def description(self):
        path = self.directory / ".hikaku" / "stack.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def until(self, condition, seconds=READY_SECONDS):
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.output.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, self.output.read_text(encoding="utf-8")
            time.sleep(0.05)

    def ready(self):
        self.until(lambda: self.description.get("ready"))
        return self

    def pid(self, name):
        return self.description["processes"][name]["pid"]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.process.wait(60)

    def get(self, path):
        url = self.description["urls"]["api"] + path
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own
            return json.load(answer)


@pytest.fixture
def folder():
    with short_directory() as directory:
        yield directory


@pytest.fixture
def stack(folder):
    """A stack of the test's own, to stop and kill."""
    running = Stack(folder)
    yield running.ready()
    if running.process.poll() is None:
        running.stop()


@pytest.fixture(scope="module")
def shared():
    """A stack for the tests that leave it running."""
    with short_directory() as directory:
        running = Stack(directory)
        yield running.ready()
        running.stop()


def descendants(pid):
    return psutil.Process(pid).children(recursive=True)


def test_the_api_answers_and_the_stack_says_where_everything_is(shared):
    stack = shared
    version = stack.get("/api/v1/version")["version"]
    assert version
    description = stack.description
    assert set(description["processes"]) == {
        "postgres", "valkey", "migrations", "api", "worker-1", "scheduler",
    }  # fmt: skip
    with psycopg.connect(description["database_url"]) as connection:
        assert connection.execute("SELECT count(*) FROM job").fetchone() == (0,)
    screen = stack.output.read_text(encoding="utf-8")
    assert re.search(r"Ready in \d+\.\d s", screen)
    assert f"{description['urls']['api']}/docs" in screen
    modes = [(stack.directory / ".hikaku" / name).stat().st_mode & 0o777
             for name in (".", "stack.json")]  # fmt: skip
    assert modes == [0o700, 0o600]


def test_a_second_up_in_the_same_folder_is_told_where_the_first_is(shared):
    stack = shared
    second = subprocess.run(
        stack._command, check=False, cwd=stack.directory, env=stack.environ, capture_output=True,
        text=True,
    )  # fmt: skip
    assert second.returncode == 1
    assert "already running" in second.stderr
    assert stack.description["urls"]["api"] in second.stderr
    assert stack.get("/api/v1/version")


def test_every_fallen_program_comes_back_and_keeps_what_it_held(shared):
    stack = shared
    stack.until(lambda: stack.description["processes"]["worker-1"]["state"] == "ready")
    with psycopg.connect(stack.description["database_url"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'りんご' AS word")
    for name in ("worker-1", "api", "valkey", "postgres"):
        before = stack.pid(name)
        os.kill(before, signal.SIGKILL)
        stack.until(
            lambda name=name, before=before: (
                stack.pid(name) not in {before, None}
                and stack.description["processes"][name]["state"] == "ready"
            )
        )
        assert stack.description["processes"][name]["restarts"] >= 1
    with psycopg.connect(stack.description["database_url"]) as connection:
        assert connection.execute("SELECT word FROM kept").fetchone() == ("りんご",)
    assert "was killed by SIGKILL" in stack.output.read_text(encoding="utf-8")


def test_nothing_is_left_after_a_stop_and_a_restart_finds_its_state_and_its_port(stack):
    url = stack.description["urls"]["api"]
    with psycopg.connect(stack.description["database_url"], autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS number")
    left = descendants(stack.process.pid)
    assert len(left) >= 5
    assert stack.stop() == 0
    assert [process for process in left if process.is_running()] == []
    assert stack.description == {}
    stack.start()
    stack.ready()
    assert stack.description["urls"]["api"] == url
    with psycopg.connect(stack.description["database_url"]) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (1,)


def test_a_killed_stack_is_cleared_away_by_the_next(stack):
    left = descendants(stack.process.pid)
    stack.process.kill()
    stack.process.wait()
    stack.start()
    stack.until(lambda: stack.description.get("pid") == stack.process.pid)
    stack.ready()
    assert stack.get("/api/v1/version")
    _, alive = psutil.wait_procs(left, timeout=60)
    assert alive == []


def test_two_stacks_in_two_folders_do_not_meet(folder):
    first_folder, second_folder = folder / "a", folder / "b"
    first_folder.mkdir()
    second_folder.mkdir()
    first, second = Stack(first_folder), Stack(second_folder)
    try:
        urls = {stack.ready().description["urls"]["api"] for stack in (first, second)}
        assert len(urls) == 2
        with psycopg.connect(first.description["database_url"], autocommit=True) as connection:
            connection.execute("CREATE TABLE only_here ()")
        with psycopg.connect(second.description["database_url"]) as connection:
            found = connection.execute("SELECT to_regclass('only_here')").fetchone()
        assert found == (None,)
    finally:
        for stack in (first, second):
            stack.stop()


def test_services_given_by_url_are_used_and_not_embedded(folder, postgres, valkey):
    environ = {"HIKAKU_DATABASE_URL": postgres.url, "HIKAKU_REDIS_URL": valkey.broker_url}
    stack = Stack(folder, environ=environ)
    try:
        stack.ready()
        assert not {"postgres", "valkey"} & set(stack.description["processes"])
        assert stack.description["database_url"] == postgres.url
    finally:
        stack.stop()


SLOW_SCREEN = """
import os, sys, time
from pathlib import Path
from stack.plan import Choices
from stack.up import run

def write(text):
    time.sleep(0.5 if "Ready in" in text else 0)
    print(text, flush=True)

choices = Choices.of(os.environ, workers=0, without=frozenset({"mlflow", "models"}))
sys.exit(run(Path(".hikaku"), choices, write=write))
"""


def test_who_reads_that_the_stack_is_ready_finds_its_screen_whole(folder, postgres, valkey):
    environ = {"HIKAKU_DATABASE_URL": postgres.url, "HIKAKU_REDIS_URL": valkey.broker_url}
    stack = Stack(folder, script=SLOW_SCREEN, environ=environ)
    try:
        stack.ready()
        assert "Ready in" in stack.output.read_text(encoding="utf-8")
    finally:
        stack.stop()


def test_a_database_that_is_not_there_ends_the_start_with_its_reason(folder):
    environ = {"HIKAKU_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}
    stack = Stack(folder, environ=environ)
    assert stack.process.wait(60) == 1
    screen = stack.output.read_text(encoding="utf-8")
    assert "giving up" in screen
    assert "127.0.0.1" in screen


def test_status_and_doctor_see_the_running_stack(shared):
    stack = shared

    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "stack.commands", *arguments],
            check=False, cwd=stack.directory, env=stack.environ, capture_output=True, text=True,
        )  # fmt: skip

    status = command("status", "--json")
    assert status.returncode == 0
    assert json.loads(status.stdout)["api"]["queue"]["queued_shards"] == 0
    doctor = command("doctor", "--json")
    findings = {
        (line["name"], line["finding"]) for line in map(json.loads, doctor.stdout.splitlines())
    }
    assert doctor.returncode == 0, doctor.stdout
    assert {("database", "ok"), ("migrations", "ok"), ("redis", "ok"), ("api", "ok")} <= findings
    assert command("status", "--data-dir", "elsewhere").returncode == 3


def test_down_stops_a_detached_stack(folder):
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}

    def command(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "stack.commands", *arguments],
            check=False, cwd=folder, env=environ, capture_output=True, text=True,
        )  # fmt: skip

    up = command("up", "--detach", "--workers", "1", "--without", "mlflow", "--without", "models")
    assert "Ready in" in up.stdout, up.stderr
    pid = json.loads((folder / ".hikaku" / "stack.json").read_text(encoding="utf-8"))["pid"]
    left = descendants(pid)
    assert command("down").stdout == "Stopped.\n"
    _, alive = psutil.wait_procs(left, timeout=60)
    assert alive == []
