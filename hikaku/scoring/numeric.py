"""The scorer that reads a number out of a completion and compares it as a number."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal
from typing import ClassVar, Literal

from pydantic import Field

from hikaku.numbers import Number
from hikaku.scoring.verdicts import (
    NO_TARGET,
    Options,
    Verdict,
    Which,
    chosen,
    hit,
    quoted,
    targets,
    unscored,
)

# Possessive throughout: a completion made of digits and commas must not cost quadratic time.
_NUMBER = re.compile(
    # A minus after a word or a digit is a hyphen: 3-5, gpt-4. Japanese puts no blank before it.
    r"(?P<sign>(?<![.)\]])(?<![^\W\u3040-\u30ff\u3400-\u9fff])[-+])?"
    r"[$¥€£]?"
    r"(?P<digits>\d++(?:,\d++)*+(?:\.\d++)?|\.\d++)"
    r"(?P<exponent>[eE][-+]?\d{1,3}(?!\w))?"
    r"(?P<units>[百千万億兆]*+)"
    r"(?P<percent>\s?%)?"
)
_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_RAISED = re.compile("[\u00b2\u00b3\u00b9\u2070-\u209c\u339f-\u33a6]")
"""Raised and lowered digits, and units such as ㎡: NFKC would make plain digits of them."""

_UNITS = {"百": 2, "千": 3, "万": 4, "億": 8, "兆": 12}
"""Powers of ten."""

_ANSWER_MARK = "####"
"""What GSM8K writes before the final answer."""

_EXACT = Context(prec=100, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[])


class Numeric(Options):
    """1 when the completion's number is the expected one, within a tolerance.

    Read: 1,234.5, -3, −3, full-width digits, $5, 1e-3, 50 %, 3万5千, and the first number after a
    `####`. Not read: numbers in words or in Chinese characters alone, fractions, powers, and
    decimal commas.
    """

    type: ClassVar[str] = "numeric"
    version: ClassVar[int] = 1

    which: Which = Field(
        default="last", description="Which of several numbers in the completion is the answer."
    )
    abs_tolerance: Number = Field(default=0, ge=0, allow_inf_nan=False)
    rel_tolerance: Number = Field(
        default=0, ge=0, allow_inf_nan=False, description="In parts of the expected number."
    )
    percent: Literal["ignore", "fraction"] = Field(
        default="ignore", description="Whether 50 % is read as 50 or as 0.5."
    )

    def score(self, completion: str, target: object) -> Verdict:
        """Judge; a completion without a number is wrong, a target without one is no judgement."""
        try:
            answers = targets(target)
            expected = [self._expected(answer) for answer in answers]
        except ValueError as error:
            return unscored(error)
        if not expected:
            return NO_TARGET
        found = self._answer(completion)
        if found is None:
            return hit(is_hit=False, detail="no number found")
        is_hit = any(self._is_close(found, number) for number in expected)
        return hit(is_hit=is_hit, detail=quoted(f"{found:f}"))

    def _expected(self, answer: str) -> Decimal:
        number = self._answer(answer)
        if number is None:
            raise ValueError(f"the expected answer holds no number: {quoted(answer)!r}")
        return number

    def _answer(self, text: str) -> Decimal | None:
        text = unicodedata.normalize("NFKC", _RAISED.sub(" ", text)).replace("\u2212", "-")
        _, mark, marked = text.rpartition(_ANSWER_MARK)
        if mark and (first := next(self._numbers(marked), None)) is not None:
            return first
        return chosen(self._numbers(text), self.which)

    def _numbers(self, text: str) -> Iterator[Decimal]:
        """Read the numbers in their order; 3万 and 5千 right after it are one."""
        whole: _Part | None = None
        for part in self._parts(text):
            if whole is not None and part.continues(whole):
                whole = whole.plus(part)
                continue
            if whole is not None:
                yield whole.value
            whole = part
        if whole is not None:
            yield whole.value

    def _parts(self, text: str) -> "Iterator[_Part]":
        for match in _NUMBER.finditer(text):
            digits, sign = match["digits"], match["sign"] or ""
            is_one = "," not in digits or _GROUPED.fullmatch(digits)
            *listed, last = [digits.replace(",", "")] if is_one else digits.split(",")
            for piece in listed:  # 1,2,3 is a list
                yield _Part(value=Decimal(sign + piece), power=0, begin=match.start(), end=-1)
                sign = ""
            power = sum(_UNITS[unit] for unit in match["units"])
            shift = power - (2 if match["percent"] and self.percent == "fraction" else 0)
            value = Decimal(sign + last + (match["exponent"] or ""))
            yield _Part(
                value=_EXACT.scaleb(value, shift) if shift else value,
                power=power,
                begin=-1 if listed or sign else match.start(),
                end=match.end(),
            )

    def _is_close(self, found: Decimal, expected: Decimal) -> bool:
        if found == expected:
            return True
        relative = _EXACT.multiply(Decimal(str(self.rel_tolerance)), abs(expected))
        allowed = max(Decimal(str(self.abs_tolerance)), relative)
        return abs(_EXACT.subtract(found, expected)) <= allowed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A number, or one of the parts of a number such as 3万5千."""

    value: Decimal
    power: int
    """Of ten, in its unit."""
    begin: int
    """Where it begins; -1 if nothing before it can belong to it."""
    end: int
    """Where it ends; -1 if nothing after it can belong to it."""

    def continues(self, other: "_Part") -> bool:
        """Whether this stands right after `other` and counts in smaller units."""
        return self.begin == other.end != -1 and self.power < other.power

    def plus(self, other: "_Part") -> "_Part":
        """Join the two into one number."""
        amount = -other.value if self.value.is_signed() else other.value
        value = _EXACT.add(self.value, amount)
        return _Part(value=value, power=other.power, begin=self.begin, end=other.end)
