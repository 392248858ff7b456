"""Lets the event loop use the database: one thread pool, and patience while Postgres is away."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from hikaku.storage.connection import Sessions

log = logging.getLogger(__name__)

T = TypeVar("T")

DATABASE_ERRORS = (DBAPIError, PoolTimeout, psycopg.Error)
"""What a transaction can raise: through SQLAlchemy, through its pool, or from COPY itself."""

FIRST_WAIT = 0.1
LONGEST_WAIT = 2.0
"""Seconds between two tries while Postgres is away."""


class Database:
    """Runs transactions in threads, for the coroutines of one process."""

    def __init__(self, sessions: Sessions, *, threads: int) -> None:
        self._sessions = sessions
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="database")

    async def run(self, transaction: Callable[[Session], T]) -> T:
        """Run one transaction in a thread and commit it.

        Raises:
            DBAPIError: Postgres refused it, or is away.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._commit, transaction)

    async def insist(self, transaction: Callable[[Session], T]) -> T:
        """Run a transaction that is safe to repeat, again and again until Postgres is there."""
        wait = FIRST_WAIT
        while True:
            try:
                return await self.run(transaction)
            except DATABASE_ERRORS as error:
                if not is_passing(error):
                    raise
                log.warning("postgres is away", extra={"error": repr(error)[:300]})
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _commit(self, transaction: Callable[[Session], T]) -> T:
        with self._sessions.begin() as session:
            return transaction(session)

    def close(self) -> None:
        """Wait for the threads."""
        self._threads.shutdown(wait=True)


def is_passing(error: Exception) -> bool:
    """Tell whether the same transaction may succeed later: a lost connection, a restart, a race."""
    if isinstance(error, PoolTimeout):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    if state is None:  # no server answered
        return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
    # 08 connection, 40 rolled back, 53 resources, 57 shutting down; then: read only during a
    # failover, idle too long, lock not to be had, internal
    return state[:2] in {"08", "40", "53", "57"} or state in {"25006", "25P03", "55P03", "XX000"}
