"""Pages of cells are found by the counters of the shards, and hold what a look at all would."""

from random import Random

import pytest
from sqlalchemy import select

from hikaku.jobs import Outcome
from hikaku.storage import jobs, recording, results
from hikaku.storage.tables import CellResult, Shard
from tests.support.jobs import record, spec, store

ROWS = 200
ENDINGS = [Outcome.OK, Outcome.OK, Outcome.OK, Outcome.TIMEOUT, Outcome.PROVIDER_ERROR]


@pytest.fixture
def job_id(sessions):
    rows = [{"object": f"りんご{n}", "expected": "赤"} for n in range(ROWS)]
    made = store(sessions, spec(rows=rows)).job_id
    random = Random(7)  # noqa: S311 - endings, not secrets
    with sessions.begin() as session:
        for shard in session.scalars(select(Shard).where(Shard.job_id == made)):
            some = ENDINGS if random.random() < 0.3 else [Outcome.OK]
            recording.record(
                session,
                [
                    record(made, shard.id, endpoint=shard.endpoint, row=row,
                           outcome=random.choice(some))
                    for row in range(shard.row_from, shard.row_to)
                ],
            )  # fmt: skip
    return made


@pytest.mark.parametrize("endpoint", [None, 1])
@pytest.mark.parametrize(
    "outcomes",
    [[], [Outcome.TIMEOUT], [Outcome.TIMEOUT, Outcome.PROVIDER_ERROR], [Outcome.REFUSED]],
)
def test_pages_of_an_outcome_are_all_of_its_cells_in_order(sessions, job_id, outcomes, endpoint):
    with sessions() as session:
        job = jobs.get(session, job_id)
        expected = [
            (cell.endpoint, cell.row, cell.repeat)
            for cell in session.scalars(select(CellResult))
            if (not outcomes or cell.outcome in outcomes)
            and (endpoint is None or cell.endpoint == endpoint)
        ]
        found, after = [], None
        while page := results.cells(
            session, job, after=after, limit=7, outcomes=outcomes, endpoint=endpoint
        ):
            found += [tuple(cell.key) for cell in page]
            after = page[-1].key
    assert found == sorted(expected)
    assert bool(found) == (outcomes != [Outcome.REFUSED])


def test_a_page_of_what_nobody_had_reads_no_cell(sessions, job_id):
    with sessions.begin() as session:
        connection = session.connection().connection.driver_connection
        connection.execute("alter table cell_result rename to hidden")
        job = jobs.get(session, job_id)
        assert results.cells(session, job, outcomes=[Outcome.REFUSED]) == []
        session.rollback()
