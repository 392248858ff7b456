"""A whole stack and its upstream for a benchmark, what they cost, and a line per figure."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import yaml
from _upstream import answer

HERE = Path(__file__).parent
HIKAKU = Path(sys.executable).with_name("hikaku")
MODELS = ("a", "b")
FINAL = {"completed", "completed_with_errors", "failed", "cancelled"}


def questions(n: int) -> list[dict[str, str]]:
    asked = [f"質問{i}: " + "この文の長さはおよそ三百文字です。" * 8 for i in range(n)]
    return [{"q": text, "expected": answer(text)} for text in asked]


def lines(rows: Iterator[dict[str, str]]) -> Iterator[bytes]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False).encode() + b"\n"


def figure(
    name: str, measured: float, *, most: float | None = None, least: float | None = None
) -> None:
    """Print one figure as it is copied to docs/performance.md: measured, target, reached or not."""
    if most is not None:
        target, reached = f"<= {most:g}", measured <= most
    elif least is not None:
        target, reached = f">= {least:g}", measured >= least
    else:
        target, reached = "-", True
    print(
        f"FIGURE | {name} | {measured:.4g} | {target} | {'yes' if reached else 'no'} |", flush=True
    )


class Stack:
    """The running product, seen from outside."""

    def __init__(self, folder: Path, port: int, environment: dict[str, str]) -> None:
        self.folder, self.port, self.environment = folder, port, environment
        self.http = httpx2.Client(timeout=120)

    @property
    def described(self) -> dict:
        return json.loads((self.folder / ".hikaku/stack.json").read_text("utf-8"))

    @property
    def api(self) -> str:
        return self.described["urls"]["api"] + "/api/v1"

    @property
    def pids(self) -> dict[str, int]:
        processes = self.described["processes"]
        return {name: one["pid"] for name, one in processes.items() if one["pid"]}

    def upload(self, name: str, content: Iterator[bytes]) -> dict:
        headers = {"content-type": "application/x-ndjson"}
        url = f"{self.api}/datasets?name={name}"
        answered = self.http.post(url, content=content, headers=headers, timeout=600)
        answered.raise_for_status()
        return answered.json()

    def submit(self, dataset: dict, models: tuple[str, ...] = MODELS, **more: object) -> str:
        spec = {
            "prompt": {"template": "{{q}}"},
            "dataset": {"id": dataset["id"]},
            "endpoints": list(models),
            "scorers": [{"type": "exact_match"}],
            "reuse": "off",
        }
        answered = self.http.post(f"{self.api}/jobs", json=spec | more, timeout=600)
        answered.raise_for_status()
        return answered.json()["id"]

    def job(self, job_id: str) -> dict:
        return self.http.get(f"{self.api}/jobs/{job_id}").json()

    def wait(self, job_id: str, *, every: float = 0.1, look: Callable[[dict], None] = id) -> dict:
        job = self.job(job_id)
        while job["state"] not in FINAL:
            time.sleep(every)
            job = self.job(job_id)
            look(job)
        return job

    def upstream(self) -> dict[str, int]:
        return self.http.get(f"http://127.0.0.1:{self.port}/stats").json()

    def cpu(self) -> dict[str, float]:
        """CPU seconds of every process with its children."""
        used = {}
        for name, pid in self.pids.items():
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            times = [one.cpu_times() for one in family]
            ended = process.cpu_times()
            used[name] = sum(t.user + t.system for t in times)
            used[name] += ended.children_user + ended.children_system
        return used

    def rss(self) -> dict[str, float]:
        return {n: psutil.Process(p).memory_info().rss / 2**20 for n, p in self.pids.items()}

    def hikaku(self, *arguments: str) -> None:
        subprocess.run(
            [HIKAKU, *arguments],
            cwd=self.folder, env=self.environment, check=True, capture_output=True,
        )  # fmt: skip


@contextmanager
def stack(
    *, latency_ms: float, in_flight: int, workers: int = 1, port: int = 9765, **settings: str
) -> Iterator[Stack]:
    """Run the upstream and everything of ours; `in_flight` over all workers and both models."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a time limit leaves nothing behind
    command = [sys.executable, HERE / "_upstream.py", "--port", str(port)]
    upstream = subprocess.Popen([*command, "--latency-ms", str(latency_ms)])
    folder = Path(tempfile.mkdtemp(prefix="hk-bench-", dir="/tmp"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HIKAKU_", "MLFLOW_"))}
    environment |= {"HIKAKU_CELLS_IN_FLIGHT": str(max(400, in_flight)), **settings}
    _endpoints(folder, f"http://127.0.0.1:{port}", in_flight // len(MODELS))
    running = Stack(folder, port, environment)
    try:
        running.hikaku(
            "up", "--detach", "--without", "models", "--without", "mlflow",
            "--workers", str(workers),
        )  # fmt: skip
        yield running
    finally:
        subprocess.run([HIKAKU, "down"], cwd=folder, env=environment, check=False)
        upstream.terminate()
        upstream.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _endpoints(folder: Path, url: str, concurrency: int) -> None:
    endpoints = [
        {
            "name": model,
            "endpoint_type": "llm/v1/chat",
            "model": {
                "provider": "openai-compatible",
                "name": model,
                "config": {"api_base": url + "/v1"},
            },
            "limits": {"concurrency": concurrency},
        }
        for model in MODELS
    ]
    (folder / "gateway.yaml").write_text(yaml.safe_dump({"endpoints": endpoints}), "utf-8")
