"""The line of one process to Redis or Valkey: scripts, news, and what to do while it is away.

Whoever asks through it gets an answer, or `AwayError` at once: nobody waits for a store that is
gone. When it is back, everybody who watches a key is told to look again.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Protocol, Self, cast
from uuid import uuid4
from weakref import WeakSet

import msgspec
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.exceptions import RedisError

from gateway.shared import scripts

log = logging.getLogger(__name__)

ANSWER_WITHIN = 0.5
"""Seconds; a store that takes longer is away."""
BEAT_EVERY = 1.0
PRESENT = 5.0
"""Seconds after its last beat that a process counts as running, and its places as taken."""
TRY_EVERY = 0.5
SILENCE = 30.0
"""Seconds without news after which the line to them is tried: a half-open one is never cut."""
SIGN_WITHIN = 5.0
_CANCEL_AGAIN = 0.05
_WITHOUT = 4
"""Into how many parts a limit is divided at least while the store is away."""
_FAILURES = (RedisError, OSError, TimeoutError)


class AwayError(Exception):
    """The store does not answer."""


class News(msgspec.Struct, omit_defaults=True):
    """What one process tells the others."""

    key: str
    blocked: float = 0.0
    """Seconds."""
    requests: float = 0.0
    """Per minute."""
    tokens: float = 0.0
    shut: float = 0.0
    """Seconds."""
    why: str = ""
    borne: float = 0.0
    """Calls per minute that the provider was found to bear; below 0: not known any more."""
    wanted: bool = False
    """Somebody needs places."""


class Watcher(Protocol):
    """Who has a stake in some keys."""

    keys: frozenset[str]

    def learn(self, news: News) -> None:
        """Another process tells something."""
        ...

    def returned(self) -> None:
        """The store is back: it may have forgotten, and so may we."""
        ...

    async def beat(self) -> None:
        """Called every now and then; renews what would run out."""
        ...

    async def part(self) -> None:
        """The process ends: give back what is not needed."""
        ...

    async def bury(self, dead: str) -> None:
        """A process is known to be dead: free what it held."""
        ...


class Hub:
    """One per process; an async context manager of one event loop."""

    def __init__(
        self, url: str, *, prefix: str = "hk:", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.me = f"{os.getpid():x}-{uuid4().hex[:8]}"
        """What this process is called; another name may be given before it is entered."""
        self.prefix = prefix
        self.away = False
        self.processes = 1
        """How many there are, as far as is known."""
        self.requests = 0
        """Made to the store, so that what a call costs can be told."""
        self._url = _spelled(url)
        self._clock = clock
        self._watchers: WeakSet[Watcher] = WeakSet()
        self._redis: Redis | None = None
        self._scripts: dict[str, AsyncScript] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._decoder = msgspec.json.Decoder(News)

    async def __aenter__(self) -> Self:
        self._redis = Redis.from_url(
            self._url,
            socket_timeout=ANSWER_WITHIN,
            socket_connect_timeout=ANSWER_WITHIN,
            retry=Retry(NoBackoff(), 0),
        )
        with suppress(AwayError):
            await self._beat()
        # Before anybody looks: what is told after a look must not come before we listen.
        listener = None if self.away else await self._subscribed()
        self.let(self._listen(listener), "news")
        self.let(self._beating(), "beat")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while tasks := [task for task in self._tasks if not task.done()]:
            for task in tasks:
                task.cancel()
            # Again: a connection that is just being made swallows it.
            await asyncio.wait(tasks, timeout=_CANCEL_AGAIN)
        for watcher in list(self._watchers):
            with suppress(AwayError):
                await watcher.part()
        if self._redis is not None:
            with suppress(*_FAILURES):
                await self._redis.zrem(self.key("processes"), self.me)
            with suppress(*_FAILURES):
                await self._redis.aclose()
            self._redis = None

    @property
    def channel(self) -> str:
        """Where news go."""
        return self.key("news")

    @property
    def share(self) -> float:
        """Of a limit, what this process may use by itself while the store is away."""
        return 1 / max(self.processes, _WITHOUT)

    def key(self, *parts: str) -> str:
        """A key of ours."""
        return self.prefix + ":".join(parts)

    def watch(self, watcher: Watcher) -> None:
        """Let it hear the news of its keys, as long as it lives."""
        self._watchers.add(watcher)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Let something run beside, until it or this ends."""
        task: asyncio.Task[None] = asyncio.create_task(work, name=f"shared limits: {name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)

    def let(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Let something run beside, and forget it."""
        self._tasks.add(self.start(work, name))

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> list[Any]:
        """The answer of a script.

        Raises:
            AwayError: The store does not answer.
        """
        if self.away or self._redis is None:
            raise AwayError
        self.requests += 1
        try:
            return await self._run(self._redis, script, keys, arguments)
        except _FAILURES as error:
            self.lost(error)
            raise AwayError from error

    async def _run(
        self, redis: Redis, script: str, keys: Sequence[str], arguments: Sequence[Any]
    ) -> list[Any]:
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = redis.register_script(script)
        return cast("list[Any]", await known(keys=list(keys), args=list(arguments)))

    async def ask(self, command: str, *arguments: Any) -> Any:  # noqa: ANN401 - as Redis has it
        """The answer to one command.

        Raises:
            AwayError: The store does not answer.
        """
        if self.away or self._redis is None:
            raise AwayError
        self.requests += 1
        try:
            return await self._redis.execute_command(command, *arguments)  # type: ignore[no-untyped-call]
        except _FAILURES as error:
            self.lost(error)
            raise AwayError from error

    async def tell(self, news: News) -> None:
        """Let all processes know; when that cannot be, they find out by themselves."""
        with suppress(AwayError):
            await self.ask("PUBLISH", self.channel, msgspec.json.encode(news))

    async def bury(self, dead: str) -> None:
        """Free what another process held, by its name `me`, that is known to be dead."""
        with suppress(AwayError):
            await self.ask("ZREM", self.key("processes"), dead)
            for watcher in list(self._watchers):
                await watcher.bury(dead)

    def lost(self, error: BaseException) -> None:
        """Note that the store is away, and begin to look for it."""
        if self.away:
            return
        self.away = True
        log.warning("shared limits are away, each process keeps to its share: %r", error)
        self.let(self._recover(), "recovery")

    async def _recover(self) -> None:
        while self._redis is not None:
            await asyncio.sleep(TRY_EVERY)
            try:  # One that answers and takes nothing in (memory full, a replica) is away too.
                await self._run(self._redis, scripts.BEAT, *self._presence)
            except _FAILURES:
                continue
            self.away = False
            log.warning("shared limits are back")
            for watcher in list(self._watchers):
                watcher.returned()
            return

    async def _beating(self) -> None:
        while True:
            with suppress(AwayError):
                await self._beat()
            for watcher in list(self._watchers):
                with suppress(AwayError):
                    await watcher.beat()
            await asyncio.sleep(BEAT_EVERY)

    async def _beat(self) -> None:
        found = await self.run(scripts.BEAT, *self._presence)
        self.processes = max(int(found[0]), 1)

    @property
    def _presence(self) -> tuple[list[str], list[Any]]:
        return [self.key("processes")], [self.me, int(PRESENT * 1000)]

    async def _subscribed(self) -> PubSub | None:
        """Listen from now on, as the store has confirmed; None when it does not answer."""
        if self._redis is None:
            return None
        listener = self._redis.pubsub()
        try:
            await listener.subscribe(self.channel)
            async with asyncio.timeout(ANSWER_WITHIN):
                await listener.get_message(timeout=None)
        except _FAILURES as error:
            await _closed(listener)
            self.lost(error)
            return None
        except BaseException:
            await _closed(listener)
            raise
        return listener

    async def _listen(self, listener: PubSub | None) -> None:
        """Hear the news for ever; whoever missed some looks again."""
        while True:
            if listener is not None:
                await self._heard(listener)
            await asyncio.sleep(TRY_EVERY)
            listener = await self._subscribed()
            if listener is not None and not self.away:  # else `_recover` tells them
                for watcher in list(self._watchers):
                    watcher.returned()

    async def _heard(self, listener: PubSub) -> None:
        """Hear the news until the line is cut, or shows no sign of life."""
        try:
            while True:
                message = await listener.get_message(timeout=SILENCE)
                if message is None:
                    await listener.ping()
                    async with asyncio.timeout(SIGN_WITHIN):
                        message = await listener.get_message(timeout=None)
                if message is not None and message["type"] == "message":
                    self._hear(message["data"])
        except _FAILURES as error:
            self.lost(error)
        finally:
            await _closed(listener)

    def _hear(self, raw: bytes) -> None:
        try:
            news = self._decoder.decode(raw)
        except msgspec.DecodeError:
            return  # Of a version that has other words.
        for watcher in list(self._watchers):
            if news.key in watcher.keys:
                watcher.learn(news)


async def _closed(listener: PubSub) -> None:
    with suppress(*_FAILURES):
        await listener.aclose()  # type: ignore[no-untyped-call]


def _spelled(url: str) -> str:
    """The address as redis-py has it; Celery writes Unix sockets in another way."""
    for theirs in ("redis+socket://", "redis+unix://"):
        if url.startswith(theirs):
            return "unix://" + url.removeprefix(theirs)
    return url
