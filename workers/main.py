"""Starts a worker: `python -m workers.main batch` or `python -m workers.main scheduler`.

The composition root of both programs: settings, database, gateway, Celery and its signals.
"""

import os
import sys
from datetime import timedelta

from celery import Celery, signals

from gateway.client import Gateway
from gateway.shared import Hub, SharedBudgets, SharedCache, SharedGates
from gateway.watching import ConfigFile, Watcher
from hikaku.failpoints import arm
from hikaku.identities import identity
from hikaku.ids import new_uuid
from hikaku.logs import configure
from hikaku.queue import BATCH, INTERACTIVE, MAINTENANCE, Queue, celery_app
from hikaku.settings import Settings
from hikaku.specs import EndpointIdentity
from hikaku.storage.connection import open_engine, open_sessions
from hikaku.storage.shards import session_name
from workers.batches import Batches
from workers.engine import Engine
from workers.offload import Offloader
from workers.scheduler import Ticker
from workers.tasks import register_batches, register_offloads, register_shards, register_tracking


def batch(settings: Settings) -> Celery:
    """Put a worker together that runs shards."""
    app = celery_app(settings.redis_url)
    worker, lease = new_uuid(), timedelta(seconds=settings.lease_seconds)
    database = open_engine(
        settings.sqlalchemy_url, pool_size=6, name=session_name(worker), idle=lease
    )
    sessions = open_sessions(database)
    file = ConfigFile(settings.gateway_config, os.environ)
    hub = Hub(settings.redis_url)
    gateway = Gateway(
        file.first(),
        gates=SharedGates(hub, job=True),
        budgets=SharedBudgets(hub),
        cache=SharedCache(hub),
        companions=[hub],
    )
    engine = Engine(settings, sessions, gateway, Watcher(gateway, file), hub, worker=worker)
    register_shards(app, engine)
    signals.worker_ready.connect(lambda **_: engine.start(), weak=False)
    signals.worker_shutting_down.connect(lambda **_: engine.drain(), weak=False)
    signals.worker_shutdown.connect(lambda **_: engine.stop(), weak=False)
    return app


def scheduler(settings: Settings) -> Celery:
    """Put the scheduler together: the clock, and the writer to MLflow."""
    app = celery_app(settings.redis_url)
    sessions = open_sessions(open_engine(settings.sqlalchemy_url, pool_size=3))
    lease = timedelta(seconds=settings.lease_seconds)
    # Apart: what is sent to MLflow or to a vendor takes its time inside a transaction.
    quick = open_sessions(open_engine(settings.sqlalchemy_url, pool_size=1, idle=lease))
    file = ConfigFile(settings.gateway_config, os.environ)

    def endpoints() -> dict[str, EndpointIdentity]:
        catalog = file.latest()
        return {name: identity(endpoint) for name, endpoint in catalog.endpoints.items()}

    ticker = Ticker(
        quick,
        Queue(app),
        endpoints,
        every=timedelta(seconds=settings.sweep_seconds),
        lease=lease,
        bucket_rows=settings.bucket_rows,
    )

    def track(job_id: str) -> None:
        from workers.tracking import Tracker  # noqa: PLC0415 - brings numpy, scipy and MLflow

        Tracker(settings, sessions).track(job_id)

    register_tracking(app, track)
    register_batches(app, Batches(sessions, Queue(app), endpoints).go_on)
    poll = timedelta(seconds=settings.offload_poll_seconds)
    register_offloads(app, Offloader(sessions, file.latest, poll=poll).go_on)
    signals.worker_ready.connect(lambda **_: ticker.start(), weak=False)
    signals.worker_shutdown.connect(lambda **_: ticker.stop(), weak=False)
    return app


def main(arguments: list[str]) -> int:
    """Run one of the two programs until it is told to stop."""
    settings = Settings()
    configure(settings.log_level)
    arm(settings.failpoints)
    match arguments:
        case ["batch"]:
            app, lanes, slots = batch(settings), [INTERACTIVE, BATCH], settings.worker_slots
        case ["scheduler"]:
            app, lanes, slots = scheduler(settings), [MAINTENANCE], 2
        case _:
            sys.stderr.write("usage: python -m workers.main batch | scheduler\n")
            return 2
    app.worker_main(
        [
            "worker",
            f"--hostname={arguments[0]}-{os.getpid()}@%h",
            "--pool=threads",
            f"--concurrency={slots}",
            f"--queues={','.join(lanes)}",
            f"--loglevel={settings.log_level}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
