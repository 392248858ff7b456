"""Answers wait here, on local disk, from the moment they arrive until Postgres has them.

A killed process loses nothing that it was answered: the file is in the page cache, and any process
of the same machine adopts it as soon as its owner's lock is gone. It is written through a mapping,
which is as safe from a kill as `write()` and asks nothing of the kernel, so a line costs about
1 us and never hands the interpreter to another thread. Of a
cell it keeps the calls, noted before they are made, and the record that settles it. A call that
nobody saw the end of may have been billed: it is counted as such.

A segment is one file. A cell's lines all go to the segment that its first line went to, so a
segment whose cells are all stored can be removed without looking at another.
"""

import errno
import fcntl
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from hikaku.jobs import CellAddress, CellCalls, CellRecord

SEGMENT_BYTES = 8 * 1024 * 1024
"""A segment larger than this takes no new cells."""

ROOM_BYTES = 1024 * 1024
"""Made beyond that for the last lines of the cells in it; more is made as it is needed."""

OWNED, ADOPTING = ".spool", ".adopting"
"""Suffix of a segment with an owner, dead or alive, and of one whose owner was found dead."""

_FRAME = struct.Struct("<II")
"""Length and CRC-32 of the line that follows; a torn last line is not a line."""

_END = _FRAME.pack(0, 0)
"""Where the next line would be: what lies behind it was written before the file was emptied."""

CellKey = tuple[str, int, int, int, int]
"""Job, endpoint, row, repeat, round."""


Line = CellRecord | CellCalls
"""A line of a segment: the record that settles a cell, or one call made for it. A call that was
sent is `unknown` until a later line of the same number says how it ended."""


class _Envelope(msgspec.Struct, array_like=True):
    record: CellRecord | None = None
    calls: CellCalls | None = None


_encoder = msgspec.msgpack.Encoder(decimal_format="string")
_decoder = msgspec.msgpack.Decoder(_Envelope)


def _enveloped(line: Line) -> _Envelope:
    match line:
        case CellRecord():
            return _Envelope(record=line)
        case CellCalls():
            return _Envelope(calls=line)


def key_of(address: CellAddress) -> CellKey:
    """Give the identity of a cell, whoever works on it."""
    return (address.job_id, address.endpoint, address.row, address.repeat, address.round)


class Segment:
    """One spool file, locked by its owner for as long as the owner lives."""

    def __init__(self, path: Path, size: int = SEGMENT_BYTES) -> None:
        self.path = path
        self.size = 0
        self.open_cells = 0
        """Cells with a line here whose record Postgres does not have yet."""
        # It bears its name only when it is locked: an unlocked segment is an orphan.
        unlocked = path.with_suffix(".new")
        self._file = os.open(unlocked, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._capacity = 0
        try:
            self._map = self._mapped(size + ROOM_BYTES)
            unlocked.rename(path)
        except OSError:
            os.close(self._file)
            unlocked.unlink(missing_ok=True)
            raise

    def append(self, line: Line) -> None:
        """Write one line, whole.

        Raises:
            OSError: The disk is full or gone.
        """
        payload = _encoder.encode(_enveloped(line))
        begin = self.size + _FRAME.size
        end = begin + len(payload)
        if end + _FRAME.size > self._capacity:
            self._grow(end + _FRAME.size)
        # The head comes last: until it stands there, this is still the end of the file.
        self._map[begin : end + _FRAME.size] = payload + _END
        self._map[self.size : begin] = _FRAME.pack(len(payload), zlib.crc32(payload))
        self.size = end

    def clear(self) -> None:
        """Empty the file; every cell in it is stored."""
        self._map[: _FRAME.size] = _END
        self.size = 0

    def remove(self) -> None:
        """Delete the file and let go of it."""
        self.path.unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Close the file as it is; who finds it adopts it."""
        self._map.close()
        os.close(self._file)

    def _grow(self, needed: int) -> None:
        before = self._map
        self._map = self._mapped(needed + ROOM_BYTES)
        before.close()

    def _mapped(self, capacity: int) -> mmap.mmap:
        """Map the file with so much room, all of it on the disk already.

        A full disk is an error here; in the midst of a write to the mapping it would be SIGBUS.
        """
        zeros = bytes(capacity - self._capacity)
        written = os.pwrite(self._file, zeros, self._capacity)
        if written != len(zeros):
            os.ftruncate(self._file, self._capacity)
            said = f"{os.strerror(errno.ENOSPC)}: {written} of {len(zeros)} bytes"
            raise OSError(errno.ENOSPC, said, str(self.path))
        self._capacity = capacity
        return mmap.mmap(self._file, capacity)


class Spool:
    """This process's segments. Not thread-safe: only the event loop's thread writes."""

    def __init__(self, directory: Path, owner: str, *, segment: int = SEGMENT_BYTES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._segment_bytes = segment
        self._directory = directory
        self._owner = owner
        self._number = 0
        self._segments: dict[CellKey, Segment] = {}
        self._active = self._new_segment()

    def called(self, calls: CellCalls) -> None:
        """Note a call: before it is made, and again if it ended and another will follow."""
        self._append(calls)

    def settled(self, record: CellRecord) -> None:
        """Note the record of a cell, before Postgres is told."""
        self._append(record)

    def make_room(self) -> None:
        """Have a segment that takes new cells.

        Raises:
            OSError: The disk is full or gone.
        """
        self._roomy()

    def stored(self, keys: Iterator[CellKey]) -> None:
        """Forget cells that Postgres has, and remove the segments that hold nothing else."""
        for key in keys:
            segment = self._segments.pop(key, None)
            if segment is None:
                continue
            segment.open_cells -= 1
            if segment.open_cells == 0:
                self._settle(segment)

    def close(self) -> None:
        """Remove the files of a process that has nothing left to store; keep the others."""
        if not self._segments:
            self._active.remove()

    def _append(self, line: Line) -> None:
        key = key_of(line.address)
        segment = self._segments.get(key)
        if segment is not None:
            segment.append(line)
            return
        segment = self._roomy()
        segment.append(line)
        segment.open_cells += 1
        self._segments[key] = segment

    def _roomy(self) -> Segment:
        if self._active.size > self._segment_bytes:
            self._active = self._new_segment()
        return self._active

    def _settle(self, segment: Segment) -> None:
        if segment is not self._active:
            segment.remove()
        elif segment.size:
            segment.clear()

    def _new_segment(self) -> Segment:
        self._number += 1
        path = self._directory / f"{self._owner}-{self._number:06d}{OWNED}"
        return Segment(path, self._segment_bytes)


def lines(content: bytes) -> Iterator[Line]:
    """Read the lines of a segment, up to the first torn one."""
    position = 0
    while position + _FRAME.size <= len(content):
        length, checksum = _FRAME.unpack_from(content, position)
        payload = content[position + _FRAME.size : position + _FRAME.size + length]
        if not length or len(payload) < length or zlib.crc32(payload) != checksum:
            return
        envelope = _decoder.decode(payload)
        line = envelope.record or envelope.calls
        if line is not None:
            yield line
        position += _FRAME.size + length
