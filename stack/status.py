"""What a running stack looks like from outside: its processes, addresses, versions and queue."""

import json
import os
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import psutil

from stack.folder import Folder

_ASK_SECONDS = 3
_MEGABYTE = 1_000_000


def status(folder: Folder) -> dict[str, Any]:
    """Describe the stack of a folder; `running` is false when there is none."""
    description = folder.description()
    if description is None or not folder.is_held():
        return {"running": False, "data_dir": str(folder.path)}
    processes = {
        name: {**entry, **_measured(entry.get("pid"))}
        for name, entry in description["processes"].items()
    }
    return {
        **description,
        "running": True,
        "processes": processes,
        "api": ask(f"{description['urls']['api']}/api/v1/status"),
        "models": ask(f"{url}/") if (url := description["urls"].get("models")) else None,
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The description as text for a person."""
    if not found["running"]:
        yield f"No stack runs in {found['data_dir']}. Start one with `hikaku up`."
        return
    yield f"Hikaku {found['version']} in {found['data_dir']}, process {found['pid']}"
    for name, url in found["urls"].items():
        yield f"  {name:<11}{url}"
    yield ""
    yield f"  {'PROCESS':<11}{'STATE':<13}{'PID':>8}{'RESTARTS':>10}{'MEMORY':>10}"
    for name, one in found["processes"].items():
        memory = f"{one['memory_mb']} MB" if one.get("memory_mb") is not None else "-"
        pid = one["pid"] or "-"
        yield f"  {name:<11}{one['state']:<13}{pid:>8}{one['restarts']:>10}{memory:>10}"
    yield ""
    yield from _queue_lines(found["api"])
    for model, standing in ((found["models"] or {}).get("models") or {}).items():
        yield f"  model      {model}: {standing['reason'] or 'ready'}"


def ask(url: str) -> dict[str, Any] | None:
    """GET a JSON object, with the API key where one is set; None when it is not answered."""
    request = urllib.request.Request(url)  # noqa: S310 - an address of our own stack
    if key := os.environ.get("HIKAKU_API_KEY"):
        request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=_ASK_SECONDS) as answer:  # noqa: S310
            content = json.load(answer)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _queue_lines(answer: Mapping[str, Any] | None) -> Iterator[str]:
    queue = (answer or {}).get("queue")
    if not isinstance(queue, dict):
        yield "  queue      unknown: the API does not answer"
        return
    queued, running = queue.get("queued_shards"), queue.get("running_shards")
    workers = queue.get("workers") or ()
    yield f"  queue      {queued} shards wait, {running} run, {len(workers)} workers"
    for one in workers:
        if one.get("trouble"):
            yield f"  worker     {one['host']}, process {one['pid']}, waits: {one['trouble']}"


def _measured(pid: int | None) -> dict[str, Any]:
    if pid is None:
        return {}
    try:
        return {"memory_mb": psutil.Process(pid).memory_info().rss // _MEGABYTE}
    except psutil.Error:
        return {"state": "gone"}
