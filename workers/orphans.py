"""What dead processes left in their spools; it is stored before anything of theirs is claimed."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from hikaku.failpoints import Point, reach
from hikaku.jobs import CellCalls, CellRecord
from hikaku.locks import lock
from workers.spool import ADOPTING, OWNED, CellKey, key_of, lines

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds that somebody who adopts a segment is waited for."""

NAMING_SECONDS = 1.0
"""Seconds that somebody who renames a segment is waited for, which takes microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """What a dead process left behind."""

    records: tuple[CellRecord, ...]
    """Cells it was answered for."""
    unsettled: tuple[CellCalls, ...]
    """Cells it was still asking for, with the calls made so far."""


class Orphan:
    """A segment whose owner is gone; locked by whoever adopts it."""

    def __init__(self, path: Path, file: int) -> None:
        self._path = path
        self._file = file

    @staticmethod
    def adopt(path: Path, *, patience: float = PATIENCE) -> "Orphan | None":
        """Lock a segment; None if its owner lives, or somebody else has stored it.

        One that is being adopted is waited for, which may take as long as storing it takes: who
        claims its shards before that would ask again what has been answered. Whoever has not
        stored it after `patience` seconds may be frozen, and holds nobody up any longer: it is
        stored twice then, which is the same as once.
        """
        file = _left_behind(path) if path.suffix == OWNED else None
        if file is None:
            if path.suffix == OWNED and path.exists():
                return None
            file = _being_adopted(path.with_suffix(ADOPTING), patience)
        if file is None:
            return None
        reach(Point.ADOPT_AFTER_LOCK)
        return Orphan(path.with_suffix(ADOPTING), file)

    def read(self) -> Inheritance:
        """Read what is in it, up to the first torn line."""
        records: dict[CellKey, CellRecord] = {}
        calls: dict[CellKey, dict[tuple[int, int], CellCalls]] = {}
        # Not by its name: who thought us frozen may have removed that.
        for line in lines(os.pread(self._file, os.fstat(self._file).st_size, 0)):
            key = key_of(line.address)
            match line:
                case CellRecord():
                    records[key] = line
                case CellCalls():
                    call = (line.address.epoch, line.attempts[0].number)
                    calls.setdefault(key, {})[call] = line
        unsettled = [call for key in calls.keys() - records.keys() for call in calls[key].values()]
        return Inheritance(records=tuple(records.values()), unsettled=tuple(unsettled))

    def remove(self) -> None:
        """Delete it: Postgres has everything."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)

    def release(self) -> None:
        """Let go of it untouched; somebody tries again later."""
        os.close(self._file)

    def refuse(self) -> Path:
        """Put it aside for a person to look at, and let go of it."""
        refused = self._path.with_suffix(".refused")
        with suppress(FileNotFoundError):
            self._path.rename(refused)
        os.close(self._file)
        return refused


def owner_of(segment: Path) -> UUID | None:
    """Tell which worker wrote a segment, by its name; None if that is no worker's."""
    try:
        return UUID(segment.stem.rsplit("-", 1)[0])
    except ValueError:
        return None


def segments(directory: Path) -> list[Path]:
    """List the segments in a directory, of the living and of the dead."""
    with _names_stay(directory):
        return sorted(path for path in directory.iterdir() if path.suffix in {OWNED, ADOPTING})


@contextmanager
def _names_stay(directory: Path) -> Iterator[None]:
    """Let no adopter rename a segment meanwhile.

    Between its lock and its new name a segment that is being adopted looks like one whose owner
    lives; and who lists a directory while a name changes may see neither.
    """
    held = os.open(directory, os.O_RDONLY)
    try:
        if not lock(held, NAMING_SECONDS):
            log.warning("somebody does not go on in the midst of adopting a spool: not waiting")
        yield
    finally:
        os.close(held)


def _left_behind(path: Path) -> int | None:
    """Lock the segment of a dead owner, and name it as one that is being adopted."""
    with _names_stay(path.parent):
        try:
            file = os.open(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            if lock(file, 0) and os.fstat(file).st_nlink:
                path.rename(path.with_suffix(ADOPTING))
                return file
        except OSError:
            os.close(file)
            raise
    os.close(file)
    return None


def _being_adopted(path: Path, patience: float) -> int | None:
    """Wait for the adopter of a segment; None if it has stored it."""
    try:
        file = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    is_ours = lock(file, patience)
    if os.fstat(file).st_nlink == 0:
        os.close(file)
        return None
    if not is_ours:
        log.warning("who adopts a spool does not go on: storing it too", extra={"file": str(path)})
    return file
