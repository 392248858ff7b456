"""Looks after pools: asks every replica how it is, and TGI how much it can take."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http import HTTPStatus

import msgspec

from gateway.config import Endpoint, Timeouts
from gateway.errors import GatewayError, RateLimited, Unavailable
from gateway.http import Reply, Transport, WireRequest, failure_of
from gateway.pools import Pool, Replica

log = logging.getLogger(__name__)

Pools = Callable[[], Iterable[tuple[Endpoint, Pool]]]

_NO_SUCH_PATH = frozenset(
    {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}
)
"""The server lives, and has no health to show."""
_SHORTEST = 0.05
"""Seconds between two looks at what is due."""


class _Info(msgspec.Struct):
    max_concurrent_requests: int | None = None
    model_id: str | None = None


_INFO = msgspec.json.Decoder(_Info)


class HealthWatch:
    """One task for all pools of a gateway; none where no pool has several replicas or `urls:`."""

    def __init__(self, transport: Transport, pools: Pools) -> None:
        self._transport = transport
        self._pools = pools
        self._task: asyncio.Task[None] | None = None
        self._probed: dict[str, float] = {}
        """When each pool was looked at last, by endpoint."""
        self._changed = asyncio.Event()

    def look_after(self) -> None:
        """Begin where it is needed; called whenever the pools have changed."""
        self._changed.set()
        if self._task is None and any(True for _ in self._watched()):
            self._task = asyncio.create_task(self._run(), name="health")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def _watched(self) -> Iterable[tuple[Endpoint, Pool]]:
        return (
            (endpoint, pool)
            for endpoint, pool in self._pools()
            if endpoint.replicas and endpoint.health.path is not None
        )

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._changed.clear()
                soonest = 60.0
                for endpoint, pool in self._watched():
                    due = self._probed.get(endpoint.name, 0.0) + endpoint.health.interval
                    if (wait := due - time.monotonic()) <= 0:
                        self._probed[endpoint.name] = time.monotonic()
                        wait = endpoint.health.interval
                        for replica in pool.replicas:
                            tasks.create_task(self._looked_at(endpoint, pool, replica))
                    soonest = min(soonest, wait)
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(soonest, _SHORTEST)):
                        await self._changed.wait()

    async def _looked_at(self, endpoint: Endpoint, pool: Pool, replica: Replica) -> None:
        vitals = replica.vitals
        problem = await self._problem(endpoint, replica.url)
        if problem is not None and not isinstance(problem, RateLimited):
            vitals.failed_probes += 1
            if vitals.failed_probes >= endpoint.health.failures and not vitals.ejected:
                vitals.ejected, vitals.asked_info = True, False
                vitals.reason = problem.message
                vitals.breaker.open_at_once()
                log.warning("%s: %s gets no calls: %s", endpoint.name, replica.url, problem)
            return
        vitals.failed_probes = 0
        if vitals.ejected or vitals.breaker.tripped:
            if vitals.ejected:
                log.warning("%s: %s is back", endpoint.name, replica.url)
            vitals.ejected = False
            vitals.breaker.half_open()
            pool.wake()
        if problem is not None:
            vitals.rest(problem.retry_after)
        elif not vitals.asked_info:
            await self._ask_info(endpoint, pool, replica)

    async def _problem(self, endpoint: Endpoint, url: str) -> GatewayError | None:
        """What is wrong with a replica; None when it is well, or does not say.

        `RateLimited` means that it lives and is busy: TGI refuses answers so, never its health, but
        what stands before a server may refuse both.
        """
        try:
            reply = await self._get(endpoint, url, endpoint.health.path or "/health")
        except GatewayError as error:
            return error
        if reply.status in _NO_SUCH_PATH or 200 <= reply.status < 300:  # noqa: PLR2004 - successes
            return None
        found = failure_of(reply.status, reply.headers, reply.body)
        if isinstance(found, RateLimited):
            return found
        return Unavailable(f"{endpoint.health.path} answered {reply.status}")

    async def _ask_info(self, endpoint: Endpoint, pool: Pool, replica: Replica) -> None:
        """Learn how much a TGI takes at once, and which model it serves; others have no say."""
        vitals = replica.vitals
        vitals.asked_info = True
        try:
            reply = await self._get(endpoint, replica.url, "/info")
            info = _INFO.decode(reply.body) if reply.status == HTTPStatus.OK else _Info()
        except (GatewayError, msgspec.DecodeError, UnicodeDecodeError):
            return
        vitals.capacity, vitals.serves = info.max_concurrent_requests, info.model_id
        served = {r.vitals.serves for r in pool.replicas if r.vitals.serves is not None}
        if len(served) > 1:
            log.warning("%s: its replicas serve different models: %s", endpoint.name, served)
        pool.wake()

    async def _get(self, endpoint: Endpoint, url: str, path: str) -> Reply:
        limit = endpoint.health.timeout
        headers = {"Authorization": f"Bearer {endpoint.secret}"} if endpoint.secret else {}
        return await self._transport.send(
            WireRequest(
                method="GET",
                url=url.removesuffix("/v1") + path,
                headers=headers,
                timeouts=Timeouts(connect=limit, total=limit),
            )
        )
