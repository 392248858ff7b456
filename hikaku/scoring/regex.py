"""The scorer that searches a completion with a regular expression."""

from functools import cached_property
from typing import Any, ClassVar, Self

from pydantic import Field, model_validator
from typing_extensions import override

from hikaku.numbers import Switch, WholeNumber
from hikaku.scoring.normalisation import DEFAULT_STEPS, normalised
from hikaku.scoring.patterns import compiled
from hikaku.scoring.text import Steps
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


class Regex(Options):
    r"""1 when the pattern is found; with `compare`, when what it found is the expected answer.

    Backslash-w, -d and -s know all scripts: `\w+` finds 評価. There are no lookarounds and no
    backreferences, and no pattern takes more than linear time.
    """

    type: ClassVar[str] = "regex"
    version: ClassVar[int] = 1

    pattern: str = Field(min_length=1, description="RE2 syntax.")
    compare: Switch = Field(
        default=False, description="Compare what was found with the expected answer."
    )
    group: WholeNumber | str | None = Field(
        default=None,
        description="Number or name of what is extracted; the first group if left out, or all.",
    )
    which: Which = Field(default="first", description="Which of several matches is extracted.")
    normalize: Steps = Field(
        default=DEFAULT_STEPS,
        description="What the extract and the expected answer are freed of before comparing.",
    )
    ascii: Switch = Field(
        default=False, description=r"\w, \d, \s and \b know only ASCII, as RE2 has them."
    )

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        groups = self._compiled.groups
        is_known = (
            self.group is None
            or self.group in self._compiled.groupindex
            or (isinstance(self.group, int) and 0 <= self.group <= groups)
        )
        if not is_known:
            names = ", ".join(self._compiled.groupindex) or "none"
            raise ValueError(f"no group {self.group!r}: there are {groups}, named: {names}")
        return self

    @cached_property
    def _compiled(self) -> Any:  # noqa: ANN401 - re2 has no types
        return compiled(self.pattern, ascii_only=self.ascii)

    @property
    @override
    def needs_target(self) -> bool:
        return self.compare

    def score(self, completion: str, target: object) -> Verdict:
        """Judge; without `compare` the target is not looked at."""
        if not self.compare:
            found = self._extract(completion)
            return hit(is_hit=found is not None, detail=found and quoted(found))
        try:
            accepted = targets(target)
        except ValueError as error:
            return unscored(error)
        if not accepted:
            return NO_TARGET
        found = self._extract(completion)
        if found is None:
            return hit(is_hit=False, detail="the pattern finds nothing")
        said = normalised(found, self.normalize)
        is_hit = any(said == normalised(answer, self.normalize) for answer in accepted)
        return hit(is_hit=is_hit, detail=quoted(found))

    def _extract(self, completion: str) -> str | None:
        match = chosen(self._compiled.finditer(completion), self.which)
        if match is None:
            return None
        group = min(1, self._compiled.groups) if self.group is None else self.group
        return match.group(group) or ""
