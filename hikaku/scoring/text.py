"""Scorers that hold text against text: exact match and contains."""

from typing import ClassVar, Literal

from pydantic import Field

from hikaku.scoring.normalisation import DEFAULT_STEPS, Step, normalised
from hikaku.scoring.verdicts import NO_TARGET, Options, Verdict, hit, targets, unscored

Steps = tuple[Step, ...]
_WHAT_STEPS_DO = "What both texts are freed of before they are compared, in this order."


class ExactMatch(Options):
    """1 when the completion is the expected answer, or one of them if there are several."""

    type: ClassVar[str] = "exact_match"
    version: ClassVar[int] = 1

    normalize: Steps = Field(default=DEFAULT_STEPS, description=_WHAT_STEPS_DO)

    def score(self, completion: str, target: object) -> Verdict:
        """Judge; a row with an empty expected answer wants an empty completion."""
        try:
            accepted = targets(target)
        except ValueError as error:
            return unscored(error)
        if not accepted:
            return NO_TARGET
        said = normalised(completion, self.normalize)
        return hit(is_hit=any(said == normalised(answer, self.normalize) for answer in accepted))


class Contains(Options):
    """1 when the expected answer stands somewhere in the completion."""

    type: ClassVar[str] = "contains"
    version: ClassVar[int] = 1

    normalize: Steps = Field(default=DEFAULT_STEPS, description=_WHAT_STEPS_DO)
    require: Literal["any", "all"] = Field(
        default="any", description="Of several expected answers: one is enough, or all must stand."
    )

    def score(self, completion: str, target: object) -> Verdict:
        """Judge; with several expected answers the detail names the missing ones."""
        try:
            wanted = [normalised(answer, self.normalize) for answer in targets(target)]
        except ValueError as error:
            return unscored(error)
        if not wanted:
            return NO_TARGET
        if "" in wanted:
            return Verdict(None, unscored="the expected answer is empty; every text contains that")
        said = normalised(completion, self.normalize)
        missing = [answer for answer in wanted if answer not in said]
        is_hit = not missing if self.require == "all" else len(missing) < len(wanted)
        detail = None if is_hit or len(wanted) == 1 else f"missing: {', '.join(missing)}"
        return hit(is_hit=is_hit, detail=detail)
