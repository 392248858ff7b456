from dataclasses import dataclass, field

import httpx2
import pytest
from click.testing import CliRunner, Result
from hikaku_client.cli import root
from hikaku_client.cli.app import App
from hikaku_client.client import Client
from hikaku_client.connection import Clock

from tests.unit.client.fake import FakeServer


@dataclass
class Watch:
    """A clock that goes forward when someone sleeps."""

    time: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    @property
    def clock(self) -> Clock:
        return Clock(now=self.now, sleep=self.sleep)


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def client(server: FakeServer, watch: Watch) -> Client:
    transport = httpx2.MockTransport(server)
    return Client("http://test", transport=transport, language="en", clock=watch.clock)


@pytest.fixture
def hikaku(server, watch):
    def call(*arguments: str, stdin: str | None = None) -> Result:
        app = App(transport=httpx2.MockTransport(server), clock=watch.clock)
        environ = {"LANG": "C.UTF-8", "LC_ALL": "", "HIKAKU_URL": "http://test"}
        return CliRunner().invoke(root, [*arguments], obj=app, env=environ, input=stdin)

    return call
