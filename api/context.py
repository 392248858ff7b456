"""What every route may use: the database, the queue, the gateway and the guard."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from anyio import CapacityLimiter

from api.security import Guard
from api.submissions import Submissions
from gateway.client import Gateway
from gateway.watching import Watcher
from hikaku.jobs import Hint
from hikaku.storage.connection import Reader, Sessions


class Hints(Protocol):
    """Where shards are announced once they are committed."""

    def put_shards(self, hints: Iterable[Hint]) -> None:
        """Say "run these shards"; a broker that is away is no error."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one request may ask for."""

    json_bytes: int = 10 * 2**20
    upload_bytes: int = 512 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The parts the application is put together from."""

    sessions: Sessions
    reader: Reader
    queue: Hints
    gateway: Gateway
    guard: Guard
    version: str
    watcher: Watcher | None = None
    """Follows the gateway's file; None where the endpoints were given otherwise."""
    slots: int = 16
    """Shards that the workers run at once; decides how finely jobs are cut."""
    mlflow: bool = False
    """Whether jobs are tracked in MLflow."""
    limits: Limits = Limits()
    batch_window: timedelta = timedelta(hours=24)
    """In which a batch has to end."""
    submissions: Submissions = field(default_factory=Submissions)
    """What the jobs that are looked at were submitted with."""
    close: Callable[[], None] = lambda: None
    """Called when the application ends."""
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server is asked to end: open streams finish by themselves."""
    uploads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(4))
    """Uploads at once; each holds a thread and a connection to the database."""
    streams: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(200))
    """Event streams open at once."""
