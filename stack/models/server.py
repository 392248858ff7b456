"""The model server: local models behind TGI's wire, one process, one loopback port.

Run as `python -m stack.models.server --port P --cache DIR --model ID...`.
"""

import argparse
import asyncio
import logging
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from hikaku import logs
from stack.models.fetch import default_cache
from stack.models.registry import ADMITTED, MODELS, SLOTS, Model, find
from stack.models.routes import routes
from stack.models.served import ServedModel


def create_app(
    models: Sequence[Model], cache: Path, *, slots: int = SLOTS, admitted: int = ADMITTED
) -> Starlette:
    """Make the application; it starts to fetch missing weights when it starts."""
    served = {
        model.id: ServedModel(model, cache=cache, slots=slots, admitted=admitted)
        for model in models
    }

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        del app
        fetching = asyncio.create_task(_fetch_all(served))
        try:
            yield
        finally:
            fetching.cancel()
            for one in served.values():
                await one.close()

    return Starlette(routes=routes(served), lifespan=lifespan)


async def _fetch_all(served: Mapping[str, ServedModel]) -> None:
    """Fetch side by side: a model that cannot be had holds up no other."""
    async with asyncio.TaskGroup() as group:
        for one in served.values():
            group.create_task(one.keep_fetching())


def main() -> None:
    """Serve until told to stop."""
    arguments = _arguments()
    logs.configure(os.environ.get("HIKAKU_LOG_LEVEL", "INFO"))
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    # The Hub's client is not used here, and nothing else may reach out by itself.
    os.environ["HF_HUB_OFFLINE"] = "1"
    app = create_app(
        [find(name) for name in arguments.model or MODELS],
        arguments.cache,
        slots=arguments.slots,
        admitted=arguments.max_concurrent_requests,
    )
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=arguments.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stack.models.server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--model", nargs="+", action="extend", default=[], metavar="ID")
    parser.add_argument("--slots", type=int, default=SLOTS)
    parser.add_argument("--max-concurrent-requests", type=int, default=ADMITTED)
    return parser.parse_args()


if __name__ == "__main__":
    main()
