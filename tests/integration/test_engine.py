"""The engine of a worker process, from its start to its end."""

import gc
import threading

import pytest

from gateway.client import Gateway
from gateway.config import Catalog
from hikaku.ids import new_uuid
from hikaku.settings import Settings
from workers.engine import Engine
from workers.lease import Lease

SECONDS = 60


@pytest.fixture
def engine(sessions, tmp_path):
    settings, usual = Settings(spool_dir=tmp_path / "spool"), gc.get_threshold()
    yield Engine(settings, sessions, Gateway(Catalog()), worker=new_uuid())
    gc.unfreeze()
    gc.set_threshold(*usual)


def test_who_is_asked_to_stop_while_joining_takes_nothing_on(engine, monkeypatch):
    asked, joined = threading.Event(), threading.Event()
    join = Lease.join

    async def slow(lease):
        await join(lease)
        joined.set()
        assert asked.wait(SECONDS)

    monkeypatch.setattr(Lease, "join", slow)
    engine.start()
    assert joined.wait(SECONDS)
    engine.drain()
    engine._opened.clear()
    asked.set()
    assert engine._opened.wait(SECONDS)
    assert engine._open.room.lease.is_draining
    engine.stop()
