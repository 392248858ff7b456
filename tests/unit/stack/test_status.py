"""What `hikaku status` says of a stack."""

from stack.status import lines


def found(*workers):
    queue = {"queued_shards": 3, "running_shards": 2, "workers": list(workers)}
    return {
        "running": True, "version": "1", "data_dir": "d", "pid": 1, "urls": {}, "processes": {},
        "api": {"queue": queue}, "models": None,
    }  # fmt: skip


def test_a_worker_that_cannot_ask_says_why():
    well = {"host": "here", "pid": 7, "trouble": None}
    full = {"host": "here", "pid": 8, "trouble": "no room for the spool in /spool"}
    said = list(lines(found(well, full)))[-2:]
    assert said == [
        "  queue      3 shards wait, 2 run, 2 workers",
        "  worker     here, process 8, waits: no room for the spool in /spool",
    ]
