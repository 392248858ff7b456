"""Tells what one endpoint will need for a job, from the cells of a pilot and those left to buy."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any

from hikaku import estimation
from hikaku.estimation import Interval, Stratum
from hikaku.pricing import Tariff
from hikaku.storage.pilots import Tried
from hikaku.storage.unbought import Unbought

IN_FLIGHT = 400
"""Calls at once of all endpoints together, where they have no limit: one worker process."""

_MINUTE = 60.0
_BURST = 1.0
"""Seconds of an unused rate that a limit saves up."""
_AROUND = 1.0
"""Seconds around all calls, at most about so many: the job is claimed, recorded and closed."""
_RECORDED_PER_SECOND = 1000
_ERRORS = 1.96
"""Standard errors on each side of a share, at `CONFIDENCE`."""
_NONE_OF = 3.0
"""Cells that may be there when a sample shows none, at `CONFIDENCE`: the rule of three."""
_MICRO = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How hard an endpoint may be pushed; None where nothing limits it."""

    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Cells that are to be bought."""

    cells: Sequence[float]
    """Of each stratum."""
    factor: Interval | None = None
    """By which their sum may be wrong; None where every cell was looked up."""
    most: float = 0.0
    """How many there may be, where a sample showed none."""


def left(
    found: Unbought, strata: Sequence[Stratum], looked: Sequence[Sequence[int]], repeats: int
) -> Left:
    """Tell how many cells of each stratum are to be bought.

    Args:
        found: Those of the rows that were looked at.
        strata: Of all rows.
        looked: The rows of each stratum that were looked at.
        repeats: Cells of a row.

    Equal cells are bought once. Of a sample that shows some, all cells hold as many different
    ones as it shows at least, and at most as if what it shows once were always so; between the
    two lies Charikar's estimate (PODS 2000), their geometric mean.
    """
    seen = [sum(found.by_row.get(row, 0) for row in rows) for rows in looked]
    n_looked, n_cells = (
        repeats * sum(map(len, looked)),
        repeats * sum(stratum.size for stratum in strata),
    )
    if n_looked >= n_cells:
        return Left(cells=seen)
    wider = n_cells / n_looked
    cells = [
        count * stratum.size / len(rows) if rows else sum(seen) * stratum.size * repeats / n_looked
        for count, stratum, rows in zip(seen, strata, looked, strict=True)
    ]
    if not sum(seen):
        return Left(cells=cells, most=_NONE_OF * wider)
    share = sum(seen) / n_looked
    reach = _ERRORS * math.sqrt(max(1 - share, 0.0) / (share * n_looked))
    factor = Interval(value=1.0, low=max(1 - reach, 0.0), high=1 + reach)
    if found.n_again:
        scaled = wider * sum(seen)
        told = (wider**power * found.n_once + found.n_again for power in (0.5, 0.0, 1.0))
        value, low, high = (one / scaled for one in told)
        factor = factor.times(Interval(value=value, low=low, high=high))
    return Left(cells=cells, factor=factor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One endpoint of the job, and what the pilot saw of it."""

    strata: Sequence[Stratum]
    tried: Mapping[int, Tried]
    tariff: Tariff | None
    repeats: int
    left: Left | None = None
    """None where every cell is asked anew."""
    batch_factor: Decimal | None = None
    """What a call costs in the vendor's batch beside an online one; None: all go online."""

    def told(self, name: str, pace: Pace, share: float) -> dict[str, Any]:
        """Say what the endpoint will need."""
        calls = self._total(lambda one: float(max(one.calls, 1)))
        tokens = [
            self._total(lambda one: _known(one.input_tokens)),
            self._total(lambda one: _known(one.output_tokens)),
        ]
        in_flight = max(1.0, min(pace.concurrency or share, share, self._cells))
        return {
            "name": name,
            "calls": counts(calls),
            "input_tokens": counts(tokens[0]),
            "output_tokens": counts(tokens[1]),
            "cost_usd": money(self._total(self._cost)),
            "seconds": seconds(self._lasts(calls, tokens, pace, in_flight)),
            "in_flight": round(in_flight),
            "tried": len(self.tried),
            "failed": sum(one.outcome.is_failed for one in self.tried.values()),
            "by_batch": self.batch_factor is not None,
        }

    @property
    def _cells(self) -> float:
        """Cells that are to be asked."""
        if self.left is None:
            return float(sum(stratum.size for stratum in self.strata) * self.repeats)
        factor = 1.0 if self.left.factor is None else self.left.factor.value
        return sum(self.left.cells) * factor

    def _total(self, amount: Callable[[Tried], float | None]) -> Interval | None:
        if self.left is None:
            return estimation.total(self.strata, self.tried, amount, repeats=self.repeats)
        whole = estimation.total(
            self.strata, self.tried, amount, repeats=self.repeats, left=self.left.cells
        )
        if whole is None:
            return None
        if self.left.most:
            known = [a for one in self.tried.values() if (a := amount(one)) is not None]
            if not known:
                return None
            return Interval(value=0.0, low=0.0, high=max(known) * self.left.most)
        return whole if self.left.factor is None else whole.times(self.left.factor)

    def _lasts(
        self,
        calls: Interval | None,
        tokens: Sequence[Interval | None],
        pace: Pace,
        in_flight: float,
    ) -> Interval | None:
        """Estimate the time: never less than one call takes, and by the limit that holds longest.

        No end of work in lanes is later than work / lanes and the longest call (Graham 1969).
        Nobody can say when a vendor answers a batch.
        """
        work = self._total(lambda one: None if one.latency_ms is None else one.latency_ms / 1000)
        if self.batch_factor is not None or calls is None or work is None:
            return None
        latencies = [one.latency_ms / 1000 for one in self.tried.values() if one.latency_ms]
        recording = _AROUND + calls.high / _RECORDED_PER_SECOND
        if not calls.high or not latencies:
            return Interval(value=0.0, low=0.0, high=recording)
        together = max(1.0, min(pace.concurrency or IN_FLIGHT, IN_FLIGHT, calls.high))
        waits = [
            Interval(
                value=work.value / in_flight, low=work.low / together, high=work.high / in_flight
            )
        ]
        waits += _paced(calls, tokens, pace)
        shortest = min(latencies) if calls.low >= 1 else 0.0
        return Interval(
            value=max(*(wait.value for wait in waits), max(latencies) if calls.value >= 1 else 0.0),
            low=max(*(wait.low for wait in waits), shortest),
            high=max(wait.high for wait in waits) + max(latencies) + recording,
        )

    def _cost(self, one: Tried) -> float | None:
        """What it costs to buy: of a cell that was reused, what it would have cost."""
        if not one.outcome.is_answered:
            return None
        cost = one.cost_usd
        if one.reused:
            cost = None if self.tariff is None else self.tariff.cost(_Counted(one))
        if cost is None:
            return None
        return float(cost if self.batch_factor is None else cost * self.batch_factor)


class _Counted:
    """A recorded cell's tokens, as a tariff reads them."""

    def __init__(self, one: Tried) -> None:
        self.input_tokens = one.input_tokens
        self.output_tokens = one.output_tokens
        self.cached_input_tokens: int | None = None


def _paced(calls: Interval, tokens: Sequence[Interval | None], pace: Pace) -> list[Interval]:
    """Say how long limits of calls and tokens hold up; what they saved up goes at once."""
    waits = []
    if pace.rpm is not None:
        waits.append(calls.over(pace.rpm / _MINUTE))
    known = [one for one in tokens if one is not None]
    if pace.tpm is not None and len(known) == len(tokens):
        waits.append(estimation.added(known).over(pace.tpm / _MINUTE))
    return [
        Interval(value=wait.value, low=max(wait.low - _BURST, 0.0), high=wait.high)
        for wait in waits
    ]


def longest(times: Sequence[Interval | None]) -> Interval | None:
    """Give the time of what goes on side by side; None when that of one is not known."""
    known = [time for time in times if time is not None]
    if not known or len(known) < len(times):
        return None
    return Interval(
        value=max(t.value for t in known),
        low=max(t.low for t in known),
        high=max(t.high for t in known),
    )


def _known(count: int | None) -> float | None:
    return None if count is None else float(count)


def read(told: Mapping[str, Any] | None) -> Interval | None:
    """Read an interval that was written down."""
    return None if told is None else Interval(**{key: float(told[key]) for key in told})


def counts(found: Interval | None) -> dict[str, int] | None:
    """Write an interval of whole things down; its ends outwards."""
    if found is None:
        return None
    low, value, high = (round(one, 6) for one in (found.low, found.value, found.high))
    return {"value": round(value), "low": math.floor(low), "high": math.ceil(high)}


def seconds(found: Interval | None) -> dict[str, float] | None:
    """Write an interval of time down."""
    if found is None:
        return None
    low, value, high = (round(one * 10, 6) for one in (found.low, found.value, found.high))
    return {"value": round(value) / 10, "low": math.floor(low) / 10, "high": math.ceil(high) / 10}


def money(found: Interval | None) -> dict[str, str] | None:
    """Write an interval of USD down."""
    if found is None:
        return None
    ends = (("value", ROUND_HALF_EVEN), ("low", ROUND_FLOOR), ("high", ROUND_CEILING))
    return {
        key: f"{Decimal(str(round(getattr(found, key), 9))).quantize(_MICRO, way).normalize():f}"
        for key, way in ends
    }
