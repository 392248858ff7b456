"""What it costs to look: CPU of the API and of Postgres for each read of a large job.

The cells of the job are made in SQL, all but those of its last shard, so that it is still running;
their summaries are made by the product. Every read is asked `--asks` times over one connection.
With `--busy`, beside a process that takes a whole core and writes as a worker would.

    python benchmarks/reads.py [--cells 100000] [--asks 200] [--busy]
    python benchmarks/reads.py --cells 1000000
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from _stack import Stack, figure, lines, stack
from scale import p95, rows
from sqlalchemy.orm import Session

from hikaku.storage import summaries
from hikaku.storage.connection import open_engine

_CELLS = """
insert into cell_result (bucket, job_id, endpoint, row, repeat, round, shard_id, epoch, outcome,
    completion, finish_reason, input_tokens, output_tokens, latency_ms, n_attempts, recorded_at)
select j.bucket, j.id, s.endpoint, r, 0, 0, s.id, 1, 'ok',
       'ANS-' || substr(md5(r::text), 1, 12), 'stop', 100, 8, 100 + 200 * random(), 1, now()
  from shard s join job j on j.id = s.job_id cross join generate_series(s.row_from, s.row_to - 1) r
 where s.id <> (select max(id) from shard)
"""
_SCORES = """
insert into score (bucket, job_id, endpoint, row, repeat, scorer, value)
select bucket, job_id, endpoint, row, repeat, 0, (hashint4(row + endpoint) % 3 = 0)::int
  from cell_result
"""
_SHARDS = """
update shard set state = 'done', n_ok = n_cells, n_calls = n_cells, input_tokens = 100 * n_cells,
       output_tokens = 8 * n_cells, claims = 1, epoch = 1, finished_at = now()
 where id <> (select max(id) from shard)
"""
_JOB = "update job set state = 'running', started_at = now() - interval '1 hour'"


def fill(url: str) -> None:
    """Record cells as if a worker had."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        for statement in (_CELLS, _SCORES, _SHARDS, _JOB):
            connection.execute(statement)
    engine = open_engine(url)
    with Session(engine) as session:
        done = session.connection().exec_driver_sql("select id from shard where state = 'done'")
        shard_ids = [shard_id for (shard_id,) in done]
        for n in range(0, len(shard_ids), 100):
            summaries.keep(session, shard_ids[n : n + 100])
            session.commit()
    engine.dispose()


def _burn() -> None:
    while True:
        sum(range(10_000))


@contextmanager
def burning(*, is_on: bool) -> Iterator[None]:
    """Take a core for a while."""
    burner = multiprocessing.Process(target=_burn, daemon=True)
    if is_on:
        burner.start()
    try:
        yield
    finally:
        if is_on:
            burner.kill()
            burner.join()


def asked(running: Stack, name: str, path: str, times: int) -> list[float]:
    """Ask, print what it cost, and give the milliseconds of each answer."""
    taken = []
    running.http.get(running.api + path).raise_for_status()
    before = running.cpu()
    for _ in range(times):
        began = time.perf_counter()
        running.http.get(running.api + path).raise_for_status()
        taken.append((time.perf_counter() - began) * 1e3)
    after = running.cpu()
    api, database = ((after[part] - before[part]) / times * 1e3 for part in ("api", "postgres"))
    print(
        f"{name:>22} | CPU ms: API {api:6.2f}, Postgres {database:6.2f} | wall ms:"
        f" median {statistics.median(taken):6.1f}, p95 {p95(taken):6.1f}, most {max(taken):6.1f}",
        flush=True,
    )
    return taken


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--cells", type=int, default=100_000)
    options.add_argument("--asks", type=int, default=200)
    options.add_argument("--busy", action="store_true")
    given = options.parse_args()
    with stack(latency_ms=0, in_flight=2, workers=0) as running:
        dataset = running.upload("reads", lines(rows(given.cells // 2)))
        job_id = running.submit(dataset)
        fill(running.described["database_url"])
        began = time.perf_counter()
        running.http.get(f"{running.api}/comparisons?jobs={job_id}").raise_for_status()
        first = (time.perf_counter() - began) * 1e3
        with burning(is_on=given.busy):
            status = asked(running, "status", f"/jobs/{job_id}", given.asks)
            asked(running, "list", "/jobs", given.asks)
            asked(running, "versions", "/version", given.asks)
            page = asked(running, "first page of cells", f"/jobs/{job_id}/cells?limit=50", 20)
            compared = asked(running, "comparison", f"/comparisons?jobs={job_id}", 20)
    what = f"{given.cells} stored cells" + (", one core taken" if given.busy else "")
    figure(f"status p95, ms ({what})", p95(status), most=50)
    figure(f"first page of cells p95, ms ({what})", p95(page), most=200)
    figure(f"first comparison, ms ({what})", first)
    figure(f"comparison, slowest of 20, ms ({what})", max(compared), most=200)


if __name__ == "__main__":
    main()
