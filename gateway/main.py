"""The gateway as a program of its own: `python -m gateway.main --config-path FILE`."""

import argparse
import gc
import ipaddress
import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.client import Gateway
from gateway.config import Catalog, load
from gateway.errors import ConfigError, GatewayError
from gateway.surfaces import Documentation, Shortcut, caller_of, key_in, refusal_at, routes
from gateway.surfaces.browsers import OwnPages
from gateway.surfaces.heads import CappedHeads
from gateway.surfaces.inventory import Inventory
from gateway.usage import JsonLines, Recorder
from gateway.watching import ConfigFile, Watcher

KEY_VARIABLE = "HIKAKU_API_KEY"
CONFIG_VARIABLE = "HIKAKU_GATEWAY_CONFIG"
REDIS_VARIABLE = "HIKAKU_REDIS_URL"
USAGE_VARIABLE = "HIKAKU_USAGE_LOG"
PUBLIC_URL_VARIABLE = "HIKAKU_PUBLIC_URL"
PATIENCE_VARIABLE = "HIKAKU_INTERACTIVE_WAIT_SECONDS"
SCHEMA_PATH = "/schemas/gateway.schema.json"
_PATIENCE = 5.0
"""Seconds a call waits for its turn before it is refused with 429."""
_OPEN_PATHS = frozenset({"/health"})


class BearerKey:
    """Demands the key on every path but the health check, wherever a client puts it."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app = app
        self._expected = key.encode()
        self._caller = caller_of(self._expected)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what bears the key, refuse the rest in the words of the path."""
        if scope["type"] == "http" and scope["path"] not in _OPEN_PATHS:
            given = key_in(scope["headers"])
            if given is None or not secrets.compare_digest(given, self._expected):
                await _unauthorized(scope["path"])(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = self._caller
        await self._app(scope, receive, send)


def create_app(
    gateway: Gateway, *, api_key: str | None = None, watcher: Watcher | None = None
) -> ASGIApp:
    """The ASGI application; it opens and closes `gateway` and `watcher` with its own life."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with gateway, watcher or nullcontext():
            yield

    surfaces = routes(gateway)
    app = Starlette(
        routes=[
            *surfaces,
            Route("/health", _health),
            Route(SCHEMA_PATH, _schema),
            *(Inventory(gateway, watcher).routes() if watcher is not None else ()),
            *Documentation(gateway).routes(),
        ],
        exception_handlers={HTTPException: _refused},
        lifespan=lifespan,
    )
    short = Shortcut(app, surfaces)
    return BearerKey(short, api_key) if api_key else short


def app_of_environment() -> ASGIApp:
    """What each server process runs; configured through the environment it inherits."""
    file = ConfigFile(Path(os.environ[CONFIG_VARIABLE]), os.environ)
    gateway = _gateway(file.first(), os.environ)
    watcher = Watcher(gateway, file)
    gc.freeze()  # What is loaded now stays: no collection needs to look at it again.
    api_key = os.environ.get(KEY_VARIABLE)
    app = create_app(gateway, api_key=api_key, watcher=watcher)
    # With a key no browser can be made to ask: it does not know it.
    return app if api_key else OwnPages(app, os.environ.get(PUBLIC_URL_VARIABLE))


def _gateway(catalog: Catalog, environ: Mapping[str, str]) -> Gateway:
    """The gateway of one process: with the others' limits where there is a store, else alone."""
    patience = float(environ.get(PATIENCE_VARIABLE) or _PATIENCE)
    log = environ.get(USAGE_VARIABLE)
    recorder = Recorder(JsonLines(Path(log))) if log else None
    url = environ.get(REDIS_VARIABLE)
    if not url:
        return Gateway(catalog, patience=patience, recorder=recorder)
    # Not above: most gateways do without, and Redis' client is slow to import.
    from gateway.shared import (  # noqa: PLC0415
        Hub,
        SharedBudgets,
        SharedCache,
        SharedGates,
        SharedQuota,
    )

    hub = Hub(url)
    return Gateway(
        catalog,
        gates=SharedGates(hub, job=False, patience=patience),
        patience=patience,
        budgets=SharedBudgets(hub),
        quota=SharedQuota(hub),
        cache=SharedCache(hub),
        recorder=recorder,
        companions=[hub],
    )


def check_bind(host: str, environ: Mapping[str, str]) -> None:
    """Refuse to listen beyond this machine without a key.

    Raises:
        GatewayError: `host` is not loopback, and no key is set.
    """
    if not environ.get(KEY_VARIABLE) and not _is_loopback(host):
        raise GatewayError(
            f"refusing to listen on {host} without a key: set {KEY_VARIABLE}, or bind 127.0.0.1"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the gateway until it is told to stop."""
    options = _parser().parse_args(arguments)
    try:
        check_bind(options.host, os.environ)
        catalog = load(options.config_path, os.environ)
    except (ConfigError, GatewayError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for warning in catalog.warnings:
        sys.stderr.write(f"{warning}\n")
    # Not resolved: a symlink that is swapped is to be followed anew.
    os.environ[CONFIG_VARIABLE] = str(options.config_path.absolute())
    if options.usage_log is not None:
        os.environ[USAGE_VARIABLE] = str(options.usage_log.absolute())
    uvicorn.run(
        "gateway.main:app_of_environment",
        factory=True,
        host=options.host,
        port=options.port,
        workers=options.workers,
        http=CappedHeads,
        access_log=False,
        log_level="info",
        # A worker that loads on a busy machine is not dead: killing it makes the machine busier.
        timeout_worker_healthcheck=30,
    )
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hikaku gateway start")
    default = os.environ.get(CONFIG_VARIABLE) or os.environ.get("MLFLOW_GATEWAY_CONFIG")
    parser.add_argument(
        "--config-path", type=Path, default=default, required=default is None, help="YAML file"
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--usage-log", type=Path, help="append one line of JSON per call to this file"
    )
    return parser


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "OK"})


async def _schema(_: Request) -> Response:
    # Not above: it is seldom asked for, and reads the sources of the configuration.
    from gateway.config.published import published  # noqa: PLC0415

    return Response(published(), media_type="application/schema+json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - nothing else is registered
    body = refusal_at(request.url.path, error.status_code, error.detail)
    return Response(body, error.status_code, error.headers, media_type="application/json")


def _unauthorized(path: str) -> Response:
    message = f"missing or wrong key: send `Authorization: Bearer ${KEY_VARIABLE}`"
    headers = {"WWW-Authenticate": 'Bearer, Basic realm="Hikaku", charset="UTF-8"'}
    return Response(refusal_at(path, 401, message), 401, headers, media_type="application/json")


if __name__ == "__main__":
    sys.exit(main())
