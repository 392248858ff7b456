"""Has completions judged by a job's scorers."""

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from hikaku import scoring
from hikaku.jobs import CellScore, kept
from hikaku.specs import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A scorer at its place in the job."""

    position: int
    target: str
    """Column with the expected answer."""
    scorer: scoring.Scorer


def judges(snapshot: Snapshot) -> tuple[Judge, ...]:
    """Build the scorers of a job, in its order."""
    return tuple(
        Judge(
            position=position,
            target=scorer.target or "",
            scorer=scoring.build(scorer.type, scorer.options),
        )
        for position, scorer in enumerate(snapshot.scorers)
    )


def judged(judge: Judge, completion: str, variables: Mapping[str, object]) -> CellScore:
    """Give one scorer's verdict on the completion of a row."""
    try:
        verdict = judge.scorer.score(completion, variables.get(judge.target))
    except Exception as error:  # noqa: BLE001  # a scorer's bug is no verdict, and loses no answer
        unscored = f"scorer failed: {error!r}"
        return _storable(CellScore(scorer=judge.position, value=None, unscored=unscored))
    return _storable(
        CellScore(
            scorer=judge.position,
            value=verdict.value,
            unscored=verdict.unscored,
            detail=verdict.detail,
        )
    )


def _storable(score: CellScore) -> CellScore:
    """Make what a scorer says of a text fit to be kept."""
    if score.unscored is None and score.detail is None:
        return score
    return replace(score, unscored=kept(score.unscored), detail=kept(score.detail))
