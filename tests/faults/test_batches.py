"""A batch whose processes die while it is read, run and written ends with each answer once."""

import json
from datetime import timedelta
from uuid import uuid4

from hikaku.batches import BatchState
from hikaku.failpoints import Point
from hikaku.specs import RequestPath
from hikaku.storage import batches, files

REQUESTS = 400


def lines():
    token = uuid4().hex[:8]
    for number in range(REQUESTS):
        prompt = f"{token}-りんご{number}"
        body = {"model": "a", "messages": [{"role": "user", "content": prompt}]}
        # What is beside the request is kept and not sent: here the history's own column.
        line = {"custom_id": prompt, "method": "POST", "url": "/v1/chat/completions"}
        yield json.dumps(line | {"body": body, "object": prompt}, ensure_ascii=False).encode()


def begun(place):
    with place.sessions.begin() as session:
        writer = files.store(session, [b"\n".join(lines())], most=2**30)
        file = writer.close(name="a.jsonl", purpose="batch", lifetime=None)
        path = RequestPath.CHAT
        day = timedelta(days=1)
        return batches.add(session, path=path, input_file_id=file.id, lifetime=day).id


def read(place, batch_id):
    with place.sessions() as session:
        return batches.get(session, batch_id)


def no_schedulers(place):
    for member in place.living():
        if member.name.startswith("scheduler."):
            place._end(member)


def test_a_batch_survives_the_death_of_whoever_reads_runs_and_writes_it(place):
    place.no_workers()
    no_schedulers(place)
    batch_id = begun(place)
    reading = place.armed(Point.IN_SUBMIT, kind="scheduler")
    place.await_death(reading, Point.IN_SUBMIT)
    assert read(place, batch_id).state == BatchState.VALIDATING
    assert read(place, batch_id).job_id is None

    writing = place.armed(Point.IN_WRITE_BATCH, kind="scheduler")
    answering = place.armed(Point.AFTER_CALL_BEFORE_SPOOL, 20)
    recording = place.armed(Point.IN_COPY, 2)
    place.await_death(answering, Point.AFTER_CALL_BEFORE_SPOOL)
    place.await_death(recording, Point.IN_COPY)
    job_id = read(place, batch_id).job_id
    assert place.done(job_id) < REQUESTS, "the job ended before all had died"
    place.workers(1)
    place.finish(job_id)
    place.await_death(writing, Point.IN_WRITE_BATCH)
    assert read(place, batch_id).state == BatchState.FINALIZING
    assert read(place, batch_id).output_file_id is None

    place.scheduler()
    place.wait(lambda: read(place, batch_id).state == BatchState.COMPLETED, "the batch's end")
    batch = read(place, batch_id)
    assert (batch.n_completed, batch.n_failed, batch.error_file_id) == (REQUESTS, 0, None)
    written = b"".join(files.content(place.sessions, batch.output_file_id)).splitlines()
    answers = [json.loads(line) for line in written]
    assert len({answer["custom_id"] for answer in answers}) == len(answers) == REQUESTS
    for answer in answers:
        assert answer["response"]["status_code"] == 200
    with place.sessions() as session:
        outputs = [file for file in files.listing(session, limit=100) if "output" in file.purpose]
    assert [file.id for file in outputs] == [batch.output_file_id]
