"""What was summed up of shards, taken apart: the only part of summaries that needs numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_SCORES = np.array([0.0, 1.0, np.nan])
"""What the bytes of a packed 0/1 score mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The cells of one endpoint that have an outcome, in any order."""

    rows: npt.NDArray[np.int64]
    """Row of each cell."""
    scores: tuple[npt.NDArray[np.float64], ...]
    """By scorer, of each cell; NaN where there is no value."""
    latencies: npt.NDArray[np.float64]
    """Of the answering calls, in milliseconds; reused completions left out."""


@dataclass(frozen=True, slots=True)
class Packed:
    """One shard's summary as it is stored."""

    row_from: int
    row_to: int
    repeats: int
    rows: bytes | None
    latencies: bytes
    scores: list[bytes] | None

    @property
    def n(self) -> int:
        """Give the number of its cells."""
        return len(self.latencies) // 4


def unpacked(found: Sequence[Packed], n_scorers: int) -> Cells:
    """Join the shards of one endpoint."""
    latencies = np.frombuffer(b"".join(one.latencies for one in found), ">f4").astype(np.float64)
    return Cells(
        rows=_all_rows(found),
        scores=tuple(_all_values(found, scorer) for scorer in range(n_scorers)),
        latencies=latencies[~np.isnan(latencies)],
    )


def _all_rows(found: Sequence[Packed]) -> npt.NDArray[np.int64]:
    if any(one.rows is not None or one.repeats != 1 for one in found):
        return np.concatenate([_rows(one) for one in found])
    # Whole runs of rows, as almost always: one pass over all of them, not one for each shard.
    firsts = np.array([one.row_from for one in found])
    sizes = np.array([one.n for one in found])
    ends = np.cumsum(sizes)
    rows: npt.NDArray[np.int64] = np.arange(ends[-1]) + np.repeat(firsts - (ends - sizes), sizes)
    return rows


def _all_values(found: Sequence[Packed], scorer: int) -> npt.NDArray[np.float64]:
    blobs = [one.scores[scorer] for one in found if one.scores and scorer < len(one.scores)]
    is_bytes = [len(blob) for blob in blobs] == [one.n for one in found]
    if is_bytes:  # scores of 0 and 1 alone
        return _SCORES[np.frombuffer(b"".join(blobs), np.uint8)]
    return np.concatenate([_values(one, scorer) for one in found])


def _rows(one: Packed) -> npt.NDArray[np.int64]:
    if one.rows is not None:
        return np.frombuffer(one.rows, ">i4").astype(np.int64)
    rows = np.arange(one.row_from, one.row_to)
    return rows if one.repeats == 1 else np.repeat(rows, one.repeats)


def _values(one: Packed, scorer: int) -> npt.NDArray[np.float64]:
    if one.scores is None or scorer >= len(one.scores):  # the scorer came later
        return np.full(one.n, np.nan)
    blob = one.scores[scorer]
    if len(blob) == one.n:
        return _SCORES[np.frombuffer(blob, np.uint8)]
    return np.frombuffer(blob, ">f8").astype(np.float64)
