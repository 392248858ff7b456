"""How a job's grid of cells is cut into the shards that workers take."""

from collections.abc import Iterator
from dataclasses import dataclass

MIN_SHARD_CELLS = 16
"""Below this the cost of a message and a claim shows in the cost of a call."""

MAX_SHARD_CELLS = 256
"""Above this nothing is saved any more, and a lost worker loses more."""

SHARDS_PER_SLOT = 4
"""Shards of a job for each slot that may run them, so that no slot idles at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedShard:
    """Rows [row_from, row_to) x repeats [repeat_from, repeat_to) of one endpoint."""

    endpoint: int
    """Position in the job's list of endpoints, from 0."""
    row_from: int
    row_to: int
    repeat_from: int
    repeat_to: int

    @property
    def n_cells(self) -> int:
        """How many cells it holds."""
        return (self.row_to - self.row_from) * (self.repeat_to - self.repeat_from)


def plan(n_rows: int, n_endpoints: int, repeats: int, *, slots: int = 16) -> list[PlannedShard]:
    """Cut the grid so that every cell lies in exactly one shard.

    All repeats of a row stay together, unless there are more of them than a shard may hold.
    Endpoints take turns, so that the slow one does not wait for the quick one to finish.

    Args:
        n_rows: Rows of the dataset revision.
        n_endpoints: Endpoints of the job.
        repeats: How often every row is asked of every endpoint.
        slots: Shards that all workers together can run at once.

    Returns:
        Shards of at most `MAX_SHARD_CELLS` cells, rows ascending.

    Raises:
        ValueError: A count is below 1.
    """
    if min(n_rows, n_endpoints, repeats, slots) < 1:
        counts = f"{n_rows} rows, {n_endpoints} endpoints, {repeats} repeats, {slots} slots"
        raise ValueError(f"there is nothing to plan in {counts}")
    return [
        PlannedShard(
            endpoint=endpoint,
            row_from=row_from,
            row_to=row_to,
            repeat_from=repeat_from,
            repeat_to=repeat_to,
        )
        for row_from, row_to in cut(n_rows, _rows_per_shard(n_rows, n_endpoints, repeats, slots))
        for repeat_from, repeat_to in cut(repeats, MAX_SHARD_CELLS)
        for endpoint in range(n_endpoints)
    ]


def _rows_per_shard(n_rows: int, n_endpoints: int, repeats: int, slots: int) -> int:
    cells = -(-n_rows * n_endpoints * repeats // (SHARDS_PER_SLOT * slots))
    return max(1, min(max(cells, MIN_SHARD_CELLS), MAX_SHARD_CELLS) // repeats)


def cut(n: int, longest: int) -> Iterator[tuple[int, int]]:
    """Cut [0, n) into the fewest runs of at most `longest`, as even as can be."""
    pieces = -(-n // longest)
    for piece in range(pieces):
        yield piece * n // pieces, (piece + 1) * n // pieces
