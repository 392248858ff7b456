"""The application, put together; `python -m api.main` serves it."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from threading import Timer
from types import FrameType

import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine
from typing_extensions import override

from api import errors, openapi
from api.compat import openai_batches, openai_files
from api.compat.gateway import surfaces
from api.context import Context
from api.frame import RequestFrame
from api.routes import (
    cells,
    chat,
    comparisons,
    control,
    datasets,
    documentation,
    endpoints,
    events,
    export,
    health,
    jobs,
    money,
    projects,
    prompts,
    schedules,
    usage,
)
from api.security import OpenBindError, check_routes, guard_for
from api.usage import UsageSink
from gateway.client import Gateway
from gateway.errors import ConfigError
from gateway.shared import Hub, SharedBudgets, SharedCache, SharedGates, SharedQuota
from gateway.surfaces import Shortcut
from gateway.surfaces.heads import CappedHeads
from gateway.usage import Recorder
from gateway.watching import ConfigFile, Watcher
from hikaku import logs
from hikaku.failpoints import arm
from hikaku.queue import Queue, celery_app
from hikaku.settings import Settings
from hikaku.storage.connection import Reader, open_engine, open_reader, open_sessions

_ROUTERS = (
    health, jobs, control, money, cells, events, export, projects, comparisons, datasets, prompts,
    schedules, chat, endpoints, documentation, openai_files, openai_batches,
    usage,
)  # fmt: skip

_POOL_SIZE = 10
_IDLE = timedelta(minutes=2)
"""Of an open transaction: longer than a request waits for the rest of its body."""
_READY_SECONDS = 3.0
"""After the start, when nobody waits for it: the first comparison takes what is ready then."""
_GRACE_SECONDS = 10
"""For requests in flight when the server is asked to end."""


def create_app(context: Context) -> FastAPI:
    """Put the application together from its parts; opens nothing before it is served."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with context.gateway, context.watcher or nullcontext():
            yield
        context.close()

    app = openapi.Documented(**openapi.OPTIONS, version=context.version, lifespan=lifespan)
    app.state.context = context
    errors.install(app)
    found = surfaces(context.gateway, context.guard)
    app.router.routes.extend(found)
    for module in _ROUTERS:
        app.include_router(module.router)
    app.add_middleware(Shortcut, routes=found)
    app.add_middleware(RequestFrame)
    check_routes(app)
    return app


def from_settings(settings: Settings) -> FastAPI:
    """Put the application together as the settings say.

    Raises:
        OpenBindError: Others could reach it, and there is no key.
        ConfigError: The gateway's file cannot be used.
    """
    guard = guard_for(settings.host, settings.api_key, settings.public_url)
    engine = open_engine(settings.sqlalchemy_url, pool_size=_POOL_SIZE, idle=_IDLE)
    # Without the file there are no endpoints, and everything else works.
    file = ConfigFile(settings.gateway_config, os.environ, missing_is_empty=True)
    hub = Hub(settings.redis_url)
    sessions = open_sessions(engine)
    reader = open_reader(settings.sqlalchemy_url)
    sink = UsageSink(sessions, days=settings.usage_days)
    patience = settings.interactive_wait_seconds
    gateway = Gateway(
        file.first(),
        gates=SharedGates(hub, job=False, patience=patience),
        patience=patience,
        budgets=SharedBudgets(hub),
        quota=SharedQuota(hub),
        cache=SharedCache(hub),
        recorder=Recorder(sink),
        companions=[hub],
    )
    context = Context(
        sessions=sessions,
        reader=reader,
        queue=Queue(celery_app(settings.redis_url)),
        gateway=gateway,
        watcher=Watcher(gateway, file),
        guard=guard,
        version=product_version(),
        mlflow=settings.mlflow_tracking_uri is not None,
        batch_window=timedelta(seconds=settings.batch_window_seconds),
        close=partial(_close, engine, reader),
    )
    return create_app(context)


def _close(engine: Engine, reader: Reader) -> None:
    engine.dispose()
    reader.close()


def from_environment() -> FastAPI:
    """Put the application together as the environment says."""
    return from_settings(Settings())


def product_version() -> str:
    """Tell the installed version."""
    try:
        return version("hikaku")
    except PackageNotFoundError:
        return "0+unknown"


class _Server(uvicorn.Server):
    """A server that tells open event streams to end before it waits for them."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._context.closing.set()
        super().handle_exit(sig, frame)


def main() -> int:
    """Serve until asked to end."""
    settings = Settings()
    logs.configure(settings.log_level)
    arm(settings.failpoints)
    try:
        app = from_settings(settings)
    except (OpenBindError, ConfigError) as error:
        sys.stderr.write(f"hikaku api: {error}\n")
        return 2
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=CappedHeads,
        log_config=None,
        access_log=False,  # `RequestFrame` writes one line per request
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    readier = Timer(_READY_SECONDS, comparisons.make_ready)
    readier.daemon = True
    readier.start()
    _Server(config, app.state.context).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
