"""How long a job of 10 cells waits for a large one that was there first, with slow calls.

The small job is timed alone, then beside the large one: on the endpoint that the large one fills,
and on another. What counts is how much later its first call starts and its end comes than alone.
With `--claims`, what a claim costs in Postgres with 100 jobs and 10,000 waiting shards.

    python benchmarks/fairness.py [--cells 20000] [--latency-ms 20000] [--in-flight 400]
    python benchmarks/fairness.py --cells 1000000
    python benchmarks/fairness.py --claims
"""

import argparse
import statistics
import time
from uuid import uuid4

import psycopg
from _stack import Stack, figure, lines, questions, stack
from scale import rows

SMALL = 10
"""Cells of the small job."""

_FIRST_CALL = """
select extract(epoch from min(a.started_at) - j.created_at)
  from attempt a join job j on j.id = a.job_id where j.created_at >= %s group by j.id, j.created_at
 order by j.created_at desc limit 1
"""

_MANY = """
with made as (
    insert into job (id, name, state, snapshot, revision_id, bucket, project, n_cells, served_at)
    select gen_random_uuid(), 'waits', 'running', j.snapshot, j.revision_id, j.bucket,
           'project ' || n %% 10, 25600, now() - n * interval '1 second'
      from job j cross join generate_series(1, %s) n where j.id = %s returning id)
insert into shard (job_id, endpoint, row_from, row_to, repeat_to, n_cells, state, priority)
select id, 0, 256 * s, 256 * s + 256, 1, 256, 'queued', 5 from made, generate_series(1, %s) s
"""


def once(running: Stack, dataset: dict, model: str) -> tuple[float, float]:
    """Run the small job; gives the seconds to its first call and to its end."""
    database = running.described["database_url"]
    with psycopg.connect(database, autocommit=True) as connection:
        (now,) = connection.execute("select clock_timestamp()").fetchone()
        began = time.perf_counter()
        running.wait(running.submit(dataset, (model,)))
        end = time.perf_counter() - began
        (first,) = connection.execute(_FIRST_CALL, [now]).fetchone()
    return float(first), end


def small_beside_large(given: argparse.Namespace) -> None:
    with stack(latency_ms=given.latency_ms, in_flight=given.in_flight) as running:
        small = running.upload("small", lines(iter(questions(SMALL))))
        large = running.upload("large", lines(rows(given.cells)))
        for model in ("a", "b"):  # not counted: whatever a process does but once
            once(running, small, model)
        alone = once(running, small, "a")
        print(f"alone: first call after {alone[0]:.2f} s, end after {alone[1]:.2f} s")
        job_id = running.submit(large, ("a",))
        before = running.upstream()["calls"]
        while running.upstream()["calls"] < before + given.in_flight // 2:
            time.sleep(0.1)
        what = f"{SMALL} cells beside {given.cells:,}, {given.latency_ms / 1e3:g} s a call"
        # Where the large job fills an endpoint's own limit, one of its calls has to end first.
        places = (("b", "another endpoint", 0.0), ("a", "one it fills", given.latency_ms / 1e3))
        for model, where, bound in places:
            first, end = once(running, small, model)
            late = first - alone[0]
            figure(f"first call later than alone, s ({what}, {where})", late, most=bound + 3)
            late = end - alone[1]
            figure(f"end later than alone, s ({what}, {where})", late, most=bound + 5)
        running.http.post(f"{running.api}/jobs/{job_id}/cancel")


def claims(given: argparse.Namespace) -> None:
    from hikaku.storage import claims as claiming  # noqa: PLC0415  # the server's, not a client's
    from hikaku.storage.connection import open_engine, open_sessions  # noqa: PLC0415

    with stack(latency_ms=0, in_flight=given.in_flight, workers=0) as running:
        small = running.upload("small", lines(iter(questions(SMALL))))
        job_id = running.submit(small, ("a",))
        url = running.described["database_url"]
        with psycopg.connect(url, autocommit=True) as connection:
            found = connection.execute("select id from job").fetchone()
            connection.execute(_MANY, [100, found[0], 100])
            connection.execute("analyze job, shard")
        sessions = open_sessions(
            open_engine(url.replace("postgresql://", "postgresql+psycopg://", 1))
        )
        taken = []
        for _ in range(400):
            began = time.perf_counter()
            with sessions.begin() as session:
                claim = claiming.claim_next(session, uuid4())
            taken.append((time.perf_counter() - began) * 1e3)
            if claim is None:
                raise SystemExit(f"nothing waits in {job_id}")
        what = "100 jobs, 10,000 waiting shards, up to 400 running"
        figure(f"claim, ms with its commit, median ({what})", statistics.median(taken[50:]))


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--cells", type=int, default=20_000)
    options.add_argument("--latency-ms", type=float, default=20_000)
    options.add_argument("--in-flight", type=int, default=400)
    options.add_argument("--claims", action="store_true")
    given = options.parse_args()
    (claims if given.claims else small_beside_large)(given)


if __name__ == "__main__":
    main()
