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
from typing import TypeVar

import msgspec

from hikaku.specs import Snapshot

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

    def less(self, known: float) -> "Interval":
        """Take away what is known, and none of it twice."""
        value, low, high = (max(0.0, x - known) for x in (self.value, self.low, self.high))
        return Interval(value=value, low=low, high=high)


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


def strata(lengths: Sequence[tuple[int, int]], n_rows: int, seed: bytes) -> list[Stratum]:
    """Cut rows into strata of equal count by length, and draw the pilot's rows from each.

    Args:
        lengths: (length, row) of the rows looked at.
        n_rows: Rows of the whole job.
        seed: Equal seeds draw equal rows, so that a second pilot can reuse the first.
    """
    ordered = sorted(lengths)
    if len(ordered) <= PILOT_ROWS:
        return [Stratum(size=n_rows, rows=tuple(sorted(row for _, row in ordered)))]
    chance = random.Random(seed)  # noqa: S311 - rows are drawn, not secrets
    found: list[Stratum] = []
    for number in range(STRATA):
        start, end = (at * len(ordered) // STRATA for at in (number, number + 1))
        drawn = chance.sample([row for _, row in ordered[start:end]], PILOT_ROWS // STRATA)
        first, last = (at * n_rows // len(ordered) for at in (start, end))
        found.append(Stratum(size=last - first, rows=tuple(sorted(drawn))))
    return found


def total(
    strata: Sequence[Stratum], used: Mapping[int, T], amount: Callable[[T], float | None]
) -> Interval | None:
    """Estimate the sum of an amount over all rows; None when the pilot shows none of it.

    Args:
        strata: As they were drawn.
        used: What came of the rows that were tried; rows that failed are not in it.
        amount: What of it; None where it is not known.
    """
    parts = _merged(
        [
            (
                stratum.size,
                [a for row in stratum.rows if row in used and (a := amount(used[row])) is not None],
            )
            for stratum in strata
        ]
    )
    if not parts:
        return None
    # Every program that stores jobs imports this module, and few ever estimate.
    from scipy.special import stdtrit  # noqa: PLC0415 - half a second, and 30 MB

    value = sum(size * statistics.fmean(seen) for size, seen in parts)
    spreads = [_spread(size, seen) for size, seen in parts]
    variance = sum(g for g, _ in spreads)
    if variance == 0:
        return Interval(value=value, low=value, high=value)
    freedom = variance**2 / sum(g**2 / (n - 1) for g, n in spreads if g)
    reach = float(stdtrit(freedom, 0.5 + CONFIDENCE / 2)) * math.sqrt(variance)
    seen_sum = sum(sum(seen) for _, seen in parts)
    return Interval(value=value, low=max(value - reach, seen_sum), high=value + reach)


def _spread(size: int, seen: Sequence[float]) -> tuple[float, int]:
    """Give a stratum's share of the variance of the total, and how many values it rests on."""
    n = len(seen)
    if n >= size or n < _FEWEST:
        return 0.0, n
    return size * (size - n) * statistics.variance(seen) / n, n


def _merged(parts: Sequence[tuple[int, list[float]]]) -> list[tuple[int, list[float]]]:
    """Join strata with too few values to the one before them: nothing is known of their spread."""
    found: list[tuple[int, list[float]]] = []
    for size, seen in parts:
        if found and (len(seen) < min(_FEWEST, size) or len(found[-1][1]) < _FEWEST):
            before, values = found.pop()
            found.append((before + size, values + seen))
        else:
            found.append((size, list(seen)))
    if len(found) > 1 and len(found[-1][1]) < min(_FEWEST, found[-1][0]):
        size, seen = found.pop()
        before, values = found.pop()
        found.append((before + size, values + seen))
    return [part for part in found if part[1]]


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
    return hashlib.sha256(_encode(decisive)).digest()
