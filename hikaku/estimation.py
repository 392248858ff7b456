"""How much a job will need, from a pilot: which rows to try, and what their use says of all rows.

Rows are drawn in strata of about equal rendered length, because length is what tokens, cost and
time follow. Totals are estimated stratum by stratum: sum of N_h * mean_h, with Student's interval
on Satterthwaite's degrees of freedom (Cochran, "Sampling Techniques", 3rd ed., 5.2-5.4, eq. 5.16),
and no error where a stratum was tried whole. Rare and very long answers that no pilot row showed
are outside of what it can tell. Repeats of a row are taken to need what its first one did.
"""

import hashlib
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import msgspec

from hikaku.specs import Execution, Snapshot

PILOT_ROWS = 20
"""Rows that are tried on each endpoint."""

STRATA = 5

FRAME_ROWS = 20_000
"""Rows whose length is looked at; of more, a sample of so many."""

CONFIDENCE = 0.95
_FEWEST = 2
"""Values of a stratum below which nothing is known of its spread."""

_encode = msgspec.json.Encoder(order="sorted", enc_hook=str).encode

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A total, and where it lies with `CONFIDENCE`."""

    value: float
    low: float
    high: float

    def over(self, divisor: float) -> "Interval":
        """Divide by a number that is known."""
        return Interval(
            value=self.value / divisor, low=self.low / divisor, high=self.high / divisor
        )

    def times(self, factor: "Interval") -> "Interval":
        """Multiply by what is not known well either; the ends with the ends."""
        return Interval(
            value=self.value * factor.value,
            low=self.low * factor.low,
            high=self.high * factor.high,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """Rows of about equal length."""

    size: int
    """Rows of the job that it stands for."""
    rows: tuple[int, ...]
    """Those that are tried."""


def added(parts: Sequence[Interval]) -> Interval:
    """Add independent totals: their errors add as squares."""
    value = sum(part.value for part in parts)
    below = math.sqrt(sum((part.value - part.low) ** 2 for part in parts))
    above = math.sqrt(sum((part.high - part.value) ** 2 for part in parts))
    return Interval(value=value, low=value - below, high=value + above)


def frame(n_rows: int, seed: bytes) -> list[int] | None:
    """Choose the rows whose length is looked at; None for all of them."""
    if n_rows <= FRAME_ROWS:
        return None
    return sorted(random.Random(seed).sample(range(n_rows), FRAME_ROWS))  # noqa: S311


def cut(lengths: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Cut rows into strata of equal count by length."""
    rows = [row for _, row in sorted(lengths)]
    if len(rows) <= PILOT_ROWS:
        return [rows]
    ends = [number * len(rows) // STRATA for number in range(STRATA + 1)]
    return [rows[start:end] for start, end in pairwise(ends)]


def strata(lengths: Sequence[tuple[int, int]], n_rows: int, seed: bytes) -> list[Stratum]:
    """Cut rows into strata of equal count by length, and draw the pilot's rows from each.

    Args:
        lengths: (length, row) of the rows looked at.
        n_rows: Rows of the whole job.
        seed: Equal seeds draw equal rows, so that a second pilot can reuse the first.
    """
    parts = cut(lengths)
    if len(parts) == 1:
        return [Stratum(size=n_rows, rows=tuple(sorted(parts[0])))]
    chance = random.Random(seed)  # noqa: S311 - rows are drawn, not secrets
    found: list[Stratum] = []
    before = 0
    for part in parts:
        first, before = before, before + len(part)
        size = before * n_rows // len(lengths) - first * n_rows // len(lengths)
        drawn = chance.sample(part, PILOT_ROWS // STRATA)
        found.append(Stratum(size=size, rows=tuple(sorted(drawn))))
    return found


def total(
    strata: Sequence[Stratum],
    used: Mapping[int, T],
    amount: Callable[[T], float | None],
    *,
    repeats: int = 1,
    left: Sequence[float] | None = None,
) -> Interval | None:
    """Estimate the sum of an amount over all rows; None when the pilot shows none of it.

    Args:
        strata: As they were drawn.
        used: What came of the rows that were tried; rows that failed are not in it.
        amount: What of it; None where it is not known.
        repeats: How often each row is asked.
        left: Cells of each stratum that are to be asked, where those are not all of them: what
            was tried is not asked again.
    """
    if left is not None and not any(left):
        return Interval(value=0.0, low=0.0, high=0.0)
    cells = [stratum.size * repeats for stratum in strata] if left is None else left
    parts = _merged(
        [
            _Seen(
                rows=stratum.size,
                cells=count,
                values=[
                    a
                    for row in stratum.rows
                    if row in used and (a := amount(used[row])) is not None
                ],
            )
            for stratum, count in zip(strata, cells, strict=True)
        ]
    )
    if not parts:
        return None
    value = sum(part.cells * statistics.fmean(part.values) for part in parts)
    spreads = [(part.spread(repeats, are_new=left is not None), len(part.values)) for part in parts]
    reach = _reach(spreads)
    least = sum(sum(part.values) for part in parts) * repeats if left is None else 0.0
    return Interval(value=value, low=min(value, max(value - reach, least)), high=value + reach)


def _reach(spreads: Sequence[tuple[float, int]]) -> float:
    """Half of the interval of a sum, from (variance, values it rests on) of its parts."""
    variance = sum(g for g, _ in spreads)
    if variance == 0:
        return 0.0
    # Every program that stores jobs imports this module, and few ever estimate.
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second, and 30 MB

    freedom = variance**2 / sum(g**2 / (n - 1) for g, n in spreads if g)
    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * math.sqrt(variance)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """Strata of which enough was seen to tell of them."""

    rows: int
    cells: float
    """To be asked."""
    values: list[float]

    def spread(self, repeats: int, *, are_new: bool) -> float:
        """Give the variance of the amount of all its cells."""
        n = len(self.values)
        if n < _FEWEST:
            return 0.0
        variance = statistics.variance(self.values) / n
        if are_new:  # repeats of a row are alike, and none of them was tried
            return self.cells * (self.cells + n * repeats) * variance
        return repeats**2 * self.rows * max(self.rows - n, 0) * variance

    def with_(self, other: "_Seen") -> "_Seen":
        """Join two."""
        return _Seen(
            rows=self.rows + other.rows,
            cells=self.cells + other.cells,
            values=self.values + other.values,
        )

    def is_thin(self) -> bool:
        """Whether its values say nothing of their spread."""
        return len(self.values) < min(_FEWEST, self.rows)


def _merged(parts: Sequence[_Seen]) -> list[_Seen]:
    """Join strata with too few values to the one before them: nothing is known of their spread."""
    found: list[_Seen] = []
    for part in parts:
        if found and (part.is_thin() or len(found[-1].values) < _FEWEST):
            found.append(found.pop().with_(part))
        else:
            found.append(part)
    if len(found) > 1 and found[-1].is_thin():
        last = found.pop()
        found.append(found.pop().with_(last))
    return [part for part in found if part.values]


def key_of(snapshot: Snapshot) -> bytes:
    """Address an estimate by all that decides the calls of a job: SHA-256."""
    decisive = [
        [message.model_dump() for message in snapshot.prompt.messages],
        snapshot.dataset.fingerprint,
        snapshot.repeats,
        [
            [
                endpoint.fingerprint,
                endpoint.params.model_dump(exclude_none=True),
                endpoint.input_usd_per_million_tokens,
                endpoint.cached_input_usd_per_million_tokens,
                endpoint.output_usd_per_million_tokens,
            ]
            for endpoint in snapshot.endpoints
        ],
        snapshot.reuse.reads,
    ]
    if snapshot.execution is not Execution.ONLINE:  # it has another price
        decisive.append(snapshot.execution)
    return hashlib.sha256(_encode(decisive)).digest()
