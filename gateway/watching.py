"""Keeps a process on the newest valid configuration: edits, replacements and symlink swaps.

The file is looked at, not listened to: a look costs microseconds, sees what every kind of file
system and ConfigMap does, and needs neither a thread nor a kernel's watch of its own.
"""

import asyncio
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.client import Gateway
from gateway.config import Catalog, parse, text_of
from gateway.errors import ConfigError
from gateway.lines import Lines

log = logging.getLogger(__name__)

EVERY = 0.25
"""Seconds between two looks."""
SETTLING = 0.05
"""Seconds a file must lie still before it is read: editors write in pieces."""
_TURN = 0.0005
MOST_SETTLING = 1.0
"""Seconds after which a file that never lies still is read all the same."""

Stamp = tuple[tuple[int, ...] | None, ...]
"""What a look sees of each file: device, inode, size and times; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigStatus:
    """Which configuration a process goes by, and what is wrong with a newer one."""

    path: Path
    loaded_at: datetime | None
    """Aware, UTC; None while there never was a valid file."""
    error: str | None
    """Why the file as it lies there is not used; None when it is."""
    warnings: tuple[str, ...]


class ConfigFile:
    """One file, read when it has changed. Blocking; not for two threads at once."""

    def __init__(
        self,
        path: Path,
        environ: Mapping[str, str],
        *,
        missing_is_empty: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.path = path
        self._environ = environ
        self._missing_is_empty = missing_is_empty
        self._sleep = sleep
        self._stamp: Stamp | None = None
        self._catalog: Catalog | None = None
        self.status = ConfigStatus(path=path, loaded_at=None, error=None, warnings=())

    def first(self) -> Catalog:
        """The configuration to begin with.

        Raises:
            ConfigError: It cannot be used.
        """
        if self._missing_is_empty and not self.path.exists():
            self._catalog, self._stamp = Catalog(), (None,)
            self._noted(error=f"there is no file {self.path} yet")
            return self._catalog
        stamp = self._stamped()
        return self._accepted(self._parsed(), stamp)

    def latest(self) -> Catalog:
        """The newest valid configuration, for those who look now and then.

        Raises:
            ConfigError: There never was a valid one.
        """
        if self._catalog is None:
            return self.first()
        self.changed()
        return self._catalog

    def changed(self, *, force: bool = False) -> Catalog | None:
        """A new configuration, if there is one; a file that is not valid is noted in `status`.

        Args:
            force: Read even what looks unchanged, such as a variable's new value.
        """
        if not force and self._stamped() == self._stamp:
            return None
        stamp = self._settled()
        try:
            catalog = self._parsed(refuse_empty=self._catalog is not None)
        except ConfigError as error:
            self._refused(error, stamp)
            return None
        if catalog == self._catalog:
            self._stamp = stamp
            self._noted(error=None)
            return None
        return self._accepted(catalog, stamp)

    def _accepted(self, catalog: Catalog, stamp: Stamp) -> Catalog:
        # The file's stamp is from before it was read: what came between is seen next time.
        self._stamp = (stamp[0], *(_stamp(path) for path in catalog.files))
        self._catalog = catalog
        self.status = ConfigStatus(
            path=self.path,
            loaded_at=datetime.now(UTC),
            error=None,
            warnings=catalog.warnings,
        )
        for warning in catalog.warnings:
            log.warning("%s: %s", self.path, warning)
        return catalog

    def _refused(self, error: ConfigError, stamp: Stamp) -> None:
        self._stamp = stamp
        self._noted(error=error.message)
        log.error("the configuration before it stays in use: %s", error.message)

    def _noted(self, *, error: str | None) -> None:
        now = self.status
        self.status = ConfigStatus(
            path=now.path, loaded_at=now.loaded_at, error=error, warnings=now.warnings
        )

    def _parsed(self, *, refuse_empty: bool = False) -> Catalog:
        text = text_of(self.path)
        # An editor that truncates first shows an empty file, which is valid and serves nobody.
        if refuse_empty and not text.strip():
            raise ConfigError(f"{self.path} is empty; `endpoints: []` would mean it")
        return parse(text, self._environ, name=self.path.name, folder=self.path.parent)

    def _settled(self) -> Stamp:
        """What the files look like once they lie still."""
        before = self._stamped()
        for _ in range(int(MOST_SETTLING / SETTLING)):
            self._sleep(SETTLING)
            now = self._stamped()
            if now == before:
                break
            before = now
        return before

    def _stamped(self) -> Stamp:
        files = self._catalog.files if self._catalog is not None else ()
        return tuple(_stamp(path) for path in (self.path, *files))


class Watcher:
    """Hands a gateway every new valid configuration; an async context manager beside it."""

    def __init__(self, gateway: Gateway, file: ConfigFile, *, every: float = EVERY) -> None:
        self._gateway = gateway
        self._file = file
        self._every = every
        self._status = file.status
        self._lags = False
        """Whether a new configuration could be read and not be put in use."""
        self._task: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def status(self) -> ConfigStatus:
        """Which configuration is in use; a new one is told of when calls go by it."""
        return self._status

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="configuration")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def reload(self) -> ConfigStatus:
        """Look now, and read even what looks unchanged."""
        await self._look(force=True)
        return self.status

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            try:
                await self._look(force=False)
            except Exception:  # Whatever one file brings about, the next is looked at.
                log.exception("the new configuration could not be put in use")

    async def _look(self, *, force: bool) -> None:
        # Parsing and binding take long for large files: in a thread, they delay no call.
        async with self._one_at_a_time:
            lagged, self._lags = self._lags, True
            found = await asyncio.to_thread(self._read, force=force, again=lagged)
            if found is not None:
                catalog, lines = found
                self._gateway.install(catalog, lines)
                log.info("new configuration in use", extra={"endpoints": len(catalog.endpoints)})
            elif lagged:
                return
            self._lags, self._status = False, self._file.status

    def _read(self, *, force: bool, again: bool) -> tuple[Catalog, Lines] | None:
        with _giving_way():
            catalog = self._file.changed(force=force)
            if catalog is None and force and again:
                catalog = self._file.latest()
            return (catalog, self._gateway.prepared(catalog)) if catalog is not None else None


@contextmanager
def _giving_way() -> Iterator[None]:
    """Let other threads run after half a millisecond instead of five.

    A call comes back to the event loop a dozen times, and would wait so long each time. Nor is
    garbage collected meanwhile: reading makes no cycles, and each full collection stops everybody.
    """
    usual, collected = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(_TURN)
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
        if collected:
            gc.enable()


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Of what a path leads to, through symlinks."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half the cost of Path.stat, four times a second
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
