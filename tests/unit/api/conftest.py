"""An application without a database: what touches it is a test of its own."""

from typing import Any, NoReturn, cast

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from api.context import Context, Limits
from api.main import create_app
from api.security import Guard, guard_for
from gateway.client import Gateway
from gateway.config import parse

KEY = "s3cret-鍵"
CONFIG = """
endpoints:
  - name: echo
    endpoint_type: llm/v1/chat
    model: {provider: echo, name: parrot}
  - name: locked
    endpoint_type: llm/v1/chat
    model: {provider: openai, name: gpt, config: {openai_api_key: $NOT_SET_ANYWHERE}}
"""


class NoDatabase:
    """Stands for sessions where none may be opened."""

    def __call__(self) -> NoReturn:
        raise AssertionError("this request must be answered without the database")

    begin = __call__

    def read(self, _ask: object) -> NoReturn:
        self()


class NoQueue:
    def put_shards(self, hints) -> NoReturn:
        raise AssertionError(f"this request must not reach the queue: {hints}")


def make_context(guard: Guard, limits: Limits = Limits()) -> Context:  # noqa: B008 - frozen
    return Context(
        sessions=cast("Any", NoDatabase()),
        reader=cast("Any", NoDatabase()),
        queue=NoQueue(),
        gateway=Gateway(parse(CONFIG, {})),
        guard=guard,
        version="1.2.3",
        limits=limits,
    )


@pytest.fixture
def client():
    context = make_context(
        guard_for("127.0.0.1", None), limits=Limits(json_bytes=100_000, upload_bytes=200_000)
    )
    with TestClient(create_app(context), base_url="http://127.0.0.1:8420") as opened:
        yield opened


@pytest.fixture
def locked():
    """The same behind a key."""
    context = make_context(guard_for("0.0.0.0", SecretStr(KEY)))  # noqa: S104
    with TestClient(create_app(context), base_url="http://hikaku.example") as opened:
        yield opened
