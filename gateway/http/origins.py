"""The connections to one place: those that wait for work, and how another is made."""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import aiohappyeyeballs
from typing_extensions import override

from gateway.errors import Unreachable
from gateway.http.addresses import Place
from gateway.http.connection import Connection, Keeper
from gateway.http.incoming import Limit
from gateway.http.unreached import unreached

KEEP_ALIVE = 15.0
"""Seconds an idle connection is kept."""
_NAMES_KEPT = 10.0
"""Seconds for which a name is not looked up again."""
_NEXT_ADDRESS = 0.25
"""Seconds after which the next address of a name is tried beside the one before (RFC 8305)."""
_MARGIN = 1.0
"""Seconds before a server would close an idle connection at which we stop to use it."""

AddressInfo: TypeAlias = (
    "tuple[int | socket.AddressFamily, int | socket.SocketKind, int, str, tuple[str, int]]"
)
Secured = Callable[[], Awaitable[ssl.SSLContext]]


class Origin(Keeper):
    """Connections to one place, as many as there are calls; all it does takes O(1)."""

    __slots__ = ("_idle", "_known", "_known_until", "_lock", "_loop", "_making",
                 "_open", "_place", "_secured", "_sweep")  # fmt: skip

    def __init__(self, place: Place, secured: Secured) -> None:
        self._loop = asyncio.get_running_loop()
        self._place = place
        self._secured = secured
        self._open: set[Connection] = set()
        # Ordered by when they fell idle: the last one is taken first, so that the rest can end.
        self._idle: dict[Connection, None] = {}
        self._making = 0
        self._sweep: asyncio.TimerHandle | None = None
        self._known: list[AddressInfo] = []
        self._known_until = 0.0
        self._lock = asyncio.Lock()

    @property
    def is_used(self) -> bool:
        """Whether there is a connection, or will be."""
        return bool(self._open) or self._making > 0

    def take(self) -> Connection | None:
        """An idle connection that the server has not closed; None when there is none."""
        while self._idle:
            connection, _ = self._idle.popitem()
            now = self._loop.time()
            if now - connection.idle_since < _patience(connection) and connection.is_fresh(now):
                return connection
            connection.abort()
        return None

    async def connect(self, limit: Limit) -> Connection:
        """Another connection.

        Raises:
            TimedOut: It is not there in time.
            Unreachable: Nobody listens, or is not whom we asked for.
        """
        self._making += 1
        try:
            async with asyncio.timeout_at(limit.at):
                connection = await self._connected()
        except TimeoutError as error:
            raise limit.missed() from error
        except OSError as error:  # TLS failures are such too.
            raise unreached(error) from error
        finally:
            self._making -= 1
        if connection.is_closed:
            raise Unreachable("the server closed the connection at once")
        self._open.add(connection)
        return connection

    @override
    def keep(self, connection: Connection) -> None:
        self._idle[connection] = None
        if self._sweep is None:
            self._sweep = self._loop.call_later(KEEP_ALIVE, self._end_idle)

    @override
    def forget(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        self._open.discard(connection)
        if not self._idle and self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None

    def close(self) -> None:
        """Cut every connection."""
        for connection in list(self._open):
            connection.abort()

    def _end_idle(self) -> None:
        """Close what nobody took for long."""
        self._sweep = None
        now = self._loop.time()
        for connection in list(self._idle):
            if now - connection.idle_since < _patience(connection):
                break
            connection.abort()
        if self._idle:
            self._sweep = self._loop.call_later(KEEP_ALIVE / 3, self._end_idle)

    async def _connected(self) -> Connection:
        context = await self._secured() if self._place.secure else None
        sock = await aiohappyeyeballs.start_connection(
            await self._addresses(), happy_eyeballs_delay=_NEXT_ADDRESS, loop=self._loop
        )
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _, connection = await self._loop.create_connection(
                lambda: Connection(self, sock),
                sock=sock,
                ssl=context,
                server_hostname=self._place.host if context is not None else None,
            )
        except BaseException:
            sock.close()
            raise
        return connection

    async def _addresses(self) -> list[AddressInfo]:
        host, port = self._place.host, self._place.port
        async with self._lock:  # One look-up serves all who wait for it.
            if not self._known or self._known_until < self._loop.time():
                self._known = _numeric(host, port) or await self._looked_up(host, port)
                self._known_until = self._loop.time() + _NAMES_KEPT
            return self._known

    async def _looked_up(self, host: str, port: int) -> list[AddressInfo]:
        found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(*info[:4], info[4]) for info in found]


def _patience(connection: Connection) -> float:
    """Seconds for which an idle connection is of use."""
    if connection.lasts is None:
        return KEEP_ALIVE
    return min(connection.lasts - _MARGIN, KEEP_ALIVE)


def _numeric(host: str, port: int) -> list[AddressInfo]:
    """An address that needs no look-up; nothing when it does."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return []
    family = socket.AF_INET if version == 4 else socket.AF_INET6  # noqa: PLR2004 - IPv4
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]
