"""Gates: conditions on a comparison that a command's exit code reports."""

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from hikaku_client.errors import InvalidRequest
from hikaku_client.wire import Column, ComparisonAnswer

_FORM = re.compile(r"(score|delta)\.(.+?)(?:\.(mean|low|high))?\s*(>=|<=|>|<)\s*([-+]?\d*\.?\d+)")
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A condition on every endpoint, or on every one but the baseline.

    `score.NAME.mean >= 0.8` is about its mean, `delta.NAME.low >= -0.02` about its difference.
    """

    text: str
    kind: str
    scorer: str
    end: str
    """mean, low or high of the interval."""
    holds: Callable[[float, float], bool]
    limit: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a gate.

        Raises:
            InvalidRequest: It has another form.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise InvalidRequest(
                f"cannot read the gate {text!r}; write score.NAME>=0.8 or delta.NAME>=-0.02,"
                " with .mean, .low or .high after the name"
            )
        return cls(
            text=text,
            kind=found[1],
            scorer=found[2],
            end=found[3] or "mean",
            holds=_OPERATORS[found[4]],
            limit=float(found[5]),
        )

    def violations(self, answer: ComparisonAnswer) -> Iterator[str]:
        """Name each column that does not hold it; a value that is not known does not hold.

        Without a column that it is about, it does not hold either: nothing was shown.
        """
        columns = self._columns(answer)
        if not columns:
            yield f"gate {self.text} does not hold: nothing to compare with"
        for column in columns:
            value = self._value(column)
            if value is None or not self.holds(value, self.limit):
                shown = "is not known" if value is None else f"is {value:.3f}"
                yield f"gate {self.text} does not hold: {column['endpoint']} {shown}"

    def _columns(self, answer: ComparisonAnswer) -> list[Column]:
        """The columns it is about; the baseline has no difference to itself."""
        if self.kind == "score":
            return answer["columns"]
        baseline = (answer["baseline"]["job"], answer["baseline"]["endpoint"])
        return [
            column
            for column in answer["columns"]
            if (column["job"], column["endpoint"]) != baseline
        ]

    def _value(self, column: Column) -> float | None:
        if self.kind == "score":
            estimate = column["scores"].get(self.scorer)
            ends = estimate and {key: estimate[key] for key in ("mean", "low", "high")}
        else:
            paired = (column["versus_baseline"] or {}).get(self.scorer)
            ends = paired and {
                "mean": paired["difference"],
                "low": paired["low"],
                "high": paired["high"],
            }
        return ends[self.end] if ends else None
