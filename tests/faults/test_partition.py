"""Workers on machines of their own: two network namespaces, one cut off for longer than its lease.

Each has an address and a spool of its own, and reaches Postgres and Valkey over the wire. The one
that is cut off can still reach the provider, which is the harder case: it is answered, and may
not write what it was answered.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import func, select

from hikaku.storage.tables import Shard
from stack.postgres import Postgres
from stack.valkey import Valkey
from tests.support.arena import Arena, Member, arena
from tests.support.relay import relay

CELLS = 600


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@dataclass(frozen=True)
class Machine:
    """A network namespace with two wires: one to the services, one to the provider."""

    name: str
    number: int

    @property
    def services(self) -> str:
        """Our end of the wire to Postgres and Valkey."""
        return f"10.213.{self.number}.1"

    @property
    def wires(self) -> tuple[str, str]:
        return (f"hks{self.number}", f"hkp{self.number}")

    def build(self) -> None:
        ip("netns", "add", self.name)
        self._wire(self.wires[0], f"10.213.{self.number}")
        self._wire(self.wires[1], f"10.214.{self.number}")
        ip("-n", self.name, "link", "set", "lo", "up")
        ip("-n", self.name, "route", "add", PROVIDER, "via", f"10.214.{self.number}.1")

    def _wire(self, wire: str, network: str) -> None:
        ip("link", "add", wire, "type", "veth", "peer", "name", f"{wire}p", "netns", self.name)
        ip("addr", "add", f"{network}.1/24", "dev", wire)
        ip("link", "set", wire, "up")
        ip("-n", self.name, "addr", "add", f"{network}.2/24", "dev", f"{wire}p")
        ip("-n", self.name, "link", "set", f"{wire}p", "up")

    def cut_off(self) -> None:
        """Take the wire to the services away: packets vanish, nobody is told."""
        ip("link", "set", self.wires[0], "down")

    def heal(self) -> None:
        ip("link", "set", self.wires[0], "up")

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "del", self.name], check=False, capture_output=True)
        for wire in self.wires:
            subprocess.run(["ip", "link", "del", wire], check=False, capture_output=True)


PROVIDER = f"10.215.0.{1 + os.getpid() % 250}"
"""The provider's address, which every machine reaches by its second wire."""


@contextmanager
def machines() -> Iterator[list[Machine]]:
    base = os.getpid() % 80 * 3
    made = [Machine(f"hk-{os.getpid()}-{n}", base + n) for n in range(2)]
    try:
        try:
            ip("addr", "add", f"{PROVIDER}/32", "dev", "lo")
            for machine in made:
                machine.build()
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {error}")
        yield made
    finally:
        for machine in made:
            machine.remove()
        subprocess.run(
            ["ip", "addr", "del", f"{PROVIDER}/32", "dev", "lo"], check=False, capture_output=True
        )


@pytest.fixture
def place() -> Iterator[tuple[Arena, list[Machine], list[Member]]]:
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")
    with ExitStack() as stack:
        there = stack.enter_context(machines())
        made = stack.enter_context(arena(host=PROVIDER))
        made.scheduler()
        workers = [start(stack, made, machine) for machine in there]
        yield made, there, workers


def start(stack: ExitStack, made: Arena, machine: Machine) -> Member:
    postgres = stack.enter_context(
        relay(Postgres(made.directory / "pg").sockets / ".s.PGSQL.5432", machine.services)
    )
    valkey = stack.enter_context(relay(Valkey(made.directory / "valkey").socket, machine.services))
    return made.start(
        "worker",
        prefix=("ip", "netns", "exec", machine.name),
        HIKAKU_DATABASE_URL=f"postgresql://hikaku@{machine.services}:{postgres.port}/hikaku",
        HIKAKU_REDIS_URL=f"redis://{machine.services}:{valkey.port}/0",
        HIKAKU_SPOOL_DIR=str(made.directory / f"spool-{machine.number}"),
    )


def test_a_worker_that_is_cut_off_for_longer_than_its_lease_changes_nothing(place):
    made, (here, _), (cut, other) = place
    made.mood(seconds=0.5)  # long enough a job that it is not over before the wire is cut
    job = made.submit(CELLS)
    for worker in (cut, other):
        made.wait_asking(worker)
    made.wait_done(job, CELLS // 5)
    made.cut_off(cut, here.cut_off)
    made.wait(lambda: was_claimed_again(made, job), "the other to take its shards")
    here.heal()
    made.finish(job)
    after = made.submit(CELLS // 4)
    made.finish(after)
    assert cut.process.poll() is None, "it was cut off, not killed"


def was_claimed_again(made: Arena, job: str) -> bool:
    with made.sessions() as session:
        most = session.scalar(select(func.max(Shard.epoch)).where(Shard.job_id == job))
    return (most or 0) > 1
