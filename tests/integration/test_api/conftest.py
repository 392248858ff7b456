"""The application on a real Postgres, with a queue that remembers what it was given."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from starlette.testclient import TestClient

from api.context import Context
from api.main import create_app
from api.security import guard_for
from gateway.client import Gateway
from gateway.config import parse
from hikaku.jobs import Hint

CONFIG = """
endpoints:
  - name: a
    endpoint_type: llm/v1/chat
    model: {provider: echo, name: a-model}
  - name: b
    endpoint_type: llm/v1/chat
    model: {provider: echo, name: b-model}
    price: {input_usd_per_million_tokens: 1, output_usd_per_million_tokens: 2}
"""


@dataclass
class RecordedQueue:
    hints: list[Hint] = field(default_factory=list)

    def put_shards(self, hints: Iterable[Hint]) -> None:
        self.hints += hints


@pytest.fixture
def queue():
    return RecordedQueue()


@pytest.fixture
def context(sessions, reader, queue):
    return Context(
        sessions=sessions,
        reader=reader,
        queue=queue,
        gateway=Gateway(parse(CONFIG, {})),
        guard=guard_for("127.0.0.1", None),
        version="1.2.3",
    )


@pytest.fixture
def client(context):
    with TestClient(create_app(context), base_url="http://127.0.0.1:8420") as opened:
        yield opened
