"""The clock: sweeps and fires slots for ever, in a thread beside Celery's."""

import logging
import os
import signal
import threading
from datetime import timedelta

from hikaku.queue import Queue
from hikaku.storage.connection import Sessions
from workers.database import DATABASE_ERRORS
from workers.schedules import Endpoints, fire_due
from workers.sweep import Sweep

log = logging.getLogger(__name__)


class Ticker:
    """Runs the sweep and the schedules every so often; any number may run on any machines."""

    def __init__(
        self,
        sessions: Sessions,
        queue: Queue,
        endpoints: Endpoints,
        *,
        every: timedelta,
        lease: timedelta,
        bucket_rows: int = 25_000_000,
    ) -> None:
        self._sessions = sessions
        self._queue = queue
        self._endpoints = endpoints
        self._every = every.total_seconds()
        self._sweep = Sweep(sessions, queue, lease=lease, bucket_rows=bucket_rows)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        """Start ticking."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the tick that is under way."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._every):
            try:
                self._tick()
            except BaseException:
                log.critical("the clock stopped", exc_info=True)
                os.kill(os.getpid(), signal.SIGKILL)

    def _tick(self) -> None:
        try:
            self._sweep.run()
            fire_due(self._sessions, self._queue, self._endpoints)
        except DATABASE_ERRORS as error:
            log.warning("tick failed; the next one follows", extra={"error": repr(error)[:300]})
