"""What is planted in the real records is found in them: the checks of the other tests can fail."""

import json

from sqlalchemy import delete, update

from hikaku.storage.tables import AttemptLine, CellResult, Shard
from tests.support.history import check
from tests.support.records import read

CELLS = 40


def test_a_lost_result_a_hidden_call_and_a_wrong_counter_are_found_in_the_real_records(place):
    place.workers(1)
    job = place.submit(CELLS)
    place.finish(job)

    def broken() -> set[str]:
        return {v.invariant for v in check(read(place.sessions, job, place.log))}

    with place.sessions.begin() as session:
        session.execute(delete(AttemptLine).where(AttemptLine.job_id == job, AttemptLine.row == 3))
    assert broken() == {"I2", "I4"}, "a call that the provider saw is not in the ledger"
    with place.sessions.begin() as session:
        session.execute(delete(CellResult).where(CellResult.job_id == job, CellResult.row == 7))
    assert "I1" in broken(), "a cell is lost"
    with place.sessions.begin() as session:
        session.execute(update(Shard).where(Shard.job_id == job).values(state="running"))
    assert "I5" in broken(), "a shard runs without an owner"


def test_a_call_that_nobody_was_excused_for_is_found_in_the_provider_s_log(place):
    place.workers(1)
    job = place.submit(CELLS)
    place.finish(job)
    model, prompt = read(place.sessions, job, place.log).planned[0]
    line = {
        "event": "call",
        "call": 10**9,
        "model": model,
        "prompt": prompt,
        "caller": "x",
        "at": 0,
    }
    with place.log.path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line, separators=(",", ":")) + "\n")
    found = check(read(place.sessions, job, place.log))
    assert [v.cells for v in found if v.invariant == "I2"] == 3 * [((model, prompt),)]
