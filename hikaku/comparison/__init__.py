"""Hold endpoints or jobs against a baseline, row by row.

Rows are matched by their keys, and a difference is taken only over rows that both sides scored;
what that leaves out is said in a warning, never dropped in silence. Repeats of a row are averaged
before anything else. A failed cell has no score: it lowers the coverage, never the mean.
"""

from hikaku.comparison.cautions import Caution
from hikaku.comparison.columns import ColumnScores, RowScores, average_repeats
from hikaku.comparison.comparing import (
    Column,
    Comparison,
    ScoreDifference,
    ScoreSummary,
    compare,
)

__all__ = [
    "Caution",
    "Column",
    "ColumnScores",
    "Comparison",
    "RowScores",
    "ScoreDifference",
    "ScoreSummary",
    "average_repeats",
    "compare",
]
