"""The gateway beside its floors: direct, a bare ASGI proxy, a bare FastAPI proxy; one run of all.

    python benchmarks/gateway.py [--seconds 3] [--runs 3] [--million] [--smg PATH_TO_SMG]

Each is one process on one core, the model and the clients are on another; CPU is that process's
own, out of /proc. Ours has a key, limits, a route by shares and its usage records on. Prints JSON
lines, then the targets: reached or not.
"""

import argparse
import http
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEY = "bench-key"
CLIENTS = (1, 16, 64, 256)
STREAMS = 100
SMG = ("launch", "--host", "127.0.0.1", "--policy", "round_robin", "--backend", "openai")
HEAVY = ("aiohttp", "anthropic", "boto3", "botocore", "fastapi", "google", "httpx", "httpx2",
         "huggingface_hub", "mlflow", "numpy", "openai", "pandas", "redis", "scipy",
         "sqlalchemy")  # fmt: skip
CONFIG = """
endpoints:
  - name: a
    endpoint_type: llm/v1/chat
    model: {{provider: vllm, name: m, config: {{api_base: '{url}/v1'}}}}
    limits: {{concurrency: 1000, rpm: 600000000, tpm: 600000000000, per_key: {{rpm: 600000000}}}}
    price: {{input_usd_per_million_tokens: 1, output_usd_per_million_tokens: 2}}
  - name: b
    endpoint_type: llm/v1/chat
    model: {{provider: vllm, name: m, config: {{api_base: '{url}/v1'}}}}
    limits: {{concurrency: 1000, rpm: 600000000, tpm: 600000000000, per_key: {{rpm: 600000000}}}}
routes:
  - name: m
    task_type: llm/v1/chat
    destinations:
      - {{name: a, traffic_percentage: 50}}
      - {{name: b, traffic_percentage: 50}}
"""


class Served:
    """A process that answers chat completions."""

    def __init__(self, name: str, url: str, process: "subprocess.Popen[bytes]", key: str = ""):
        self.name, self.url, self.key, self.pid = name, url, key, process.pid

    def cpu(self) -> float:
        """Seconds on a core so far, of all its threads."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((t / "schedstat").read_text().split()[0]) for t in tasks) / 1e9

    def rss_mb(self) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(x.split()[1]) for x in lines if x.startswith("VmRSS")) / 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cores() -> tuple[set[int], set[int]]:
    """For the clients and the model, and for what is measured."""
    usable = sorted(os.sched_getaffinity(0))
    return ({usable[0]}, {usable[1]}) if len(usable) > 1 else ({usable[0]}, {usable[0]})


def started(command: Sequence[str], core: set[int], environ: dict[str, str] | None = None):
    return subprocess.Popen(
        command,
        env={**os.environ, **(environ or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, core),  # noqa: PLW1509 - there is one thread
        cwd=HERE.parent,
    )


@contextmanager
def serving(name: str, upstream: str, port: int, options: argparse.Namespace) -> Iterator[Served]:
    url = f"http://127.0.0.1:{port}"
    script = [sys.executable, str(HERE / "_proxies.py")]
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "gateway.yaml"
        config.write_text(CONFIG.format(url=upstream), encoding="utf-8")
        gateway = [sys.executable, "-m", "gateway.main", "--config-path", str(config)]
        command, key = {
            "direct": ([sys.executable, str(HERE / "_mock.py")], ""),
            "bare ASGI": ([*script, "asgi", "--upstream", upstream], ""),
            "bare FastAPI": ([*script, "fastapi", "--upstream", upstream], ""),
            "smg": ([options.smg or "smg", *SMG, "--worker-urls", upstream], ""),
            "ours": (gateway, KEY),
        }[name]
        environ = {"HIKAKU_API_KEY": key, "HIKAKU_USAGE_LOG": f"{folder}/usage"} if key else {}
        process = started([*command, "--port", str(port)], cores()[1], environ)
        try:
            served = Served(name, url, process, key)
            wait_for(served, process)
            yield served
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(served: Served, process: "subprocess.Popen[bytes]") -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"?"}]}'
    headers = {"content-type": "application/json", "authorization": f"Bearer {served.key}"}
    request = urllib.request.Request(served.url + "/v1/chat/completions", body, headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(3000):
        try:
            with opener.open(request, timeout=5) as reply:
                if reply.status == http.HTTPStatus.OK:
                    return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.01)
        if process.poll() is not None:
            raise SystemExit(f"{served.name} ended with {process.returncode}")
    raise SystemExit(f"{served.name} does not answer")


def loaded(served: Served, clients: int, **options: object) -> dict:
    """One load on it, with its CPU per request."""
    command = [sys.executable, str(HERE / "_load.py"), "--url", f"{served.url}/v1/chat/completions",
               "--clients", str(clients), "--key", served.key]  # fmt: skip
    for name, value in options.items():
        command += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    before = served.cpu()
    done = subprocess.run(
        command,
        check=True,
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores()[0]),
    )
    result = json.loads(done.stdout)
    used = served.cpu() - before
    if set(result["statuses"]) != {"200"} or result["broken"]:
        raise SystemExit(f"{served.name}: {result}")
    result["rps"] = round(result["requests"] / result["seconds"])
    result["cpu_ms"] = round(used / result["requests"] * 1e3, 4)
    result["chunk_ms"] = round(used / result["chunks"] * 1e3, 4) if result["chunks"] else None
    return result


def middle(rows: list[dict], key: str) -> float:
    return statistics.median(row[key] for row in rows)


def measured(served: Served, options: argparse.Namespace) -> dict:
    """All loads on one server."""
    result: dict = {"rss_mb_start": round(served.rss_mb(), 1)}
    loaded(served, 64, requests=2000)
    for clients in CLIENTS:
        rows = [loaded(served, clients, seconds=options.seconds) for _ in range(options.runs)]
        result[clients] = {k: middle(rows, k) for k in ("rps", "cpu_ms", "p50_ms", "p99_ms")}
    loaded(served, 10, requests=10, stream=True)
    rows = [loaded(served, STREAMS, seconds=0.1, stream=True) for _ in range(options.runs)]
    result["stream"] = {k: middle(rows, k) for k in ("chunk_ms", "first_p50_ms", "first_p99_ms")}
    result["rss_mb_end"] = round(served.rss_mb(), 1)
    return result


def cold_start(name: str, upstream: str, options: argparse.Namespace) -> float:
    """Seconds from nothing to the first answer; the middle of three."""
    found = []
    for _ in range(3):
        begun = time.perf_counter()
        with serving(name, upstream, free_port(), options):
            found.append(time.perf_counter() - begun)
    return round(statistics.median(found), 2)


def heavy_imports() -> list[str]:
    """Libraries that the gateway should not need to begin."""
    command = [sys.executable, "-X", "importtime", "-c", "import gateway.main"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE.parent)
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines()}
    return sorted(names & set(HEAVY))


def million(served: Served, requests: int) -> list[float]:
    """RSS in MB after each tenth of so many requests."""
    found = [round(served.rss_mb(), 1)]
    for _ in range(10):
        loaded(served, 64, requests=requests // 10, seconds=3600)
        found.append(round(served.rss_mb(), 1))
    return found


def verdict(what: str, found: float, *, least: float | None = None, most: float = 0) -> str:
    reached = found >= least if least is not None else found <= most
    target = f">= {least:g}" if least is not None else f"<= {most:g}"
    return f"{what:52} {target:>9} {found:9.3f}  {'reached' if reached else 'NOT REACHED'}"


def verdicts(results: dict, cold: float, heavy: list[str], memory: list[float]) -> Iterator[str]:
    ours, bare, direct = results["ours"], results["bare ASGI"], results["direct"]
    for clients in CLIENTS[1:]:
        ratio = ours[clients]["rps"] / bare[clients]["rps"]
        yield verdict(f"rps against bare ASGI at {clients} clients", ratio, least=0.75)
        cpu = ours[clients]["cpu_ms"]
        yield verdict(f"CPU ms per request at {clients} clients", cpu, most=0.22)
    added = ours[64]["p99_ms"] - direct[64]["p99_ms"]
    yield verdict("p99 added at 64 clients, ms", added, most=30)
    yield verdict("CPU ms per chunk", ours["stream"]["chunk_ms"], most=0.06)
    late = ours["stream"]["first_p50_ms"] - direct["stream"]["first_p50_ms"]
    yield verdict(f"first chunk after direct's at {STREAMS} streams, ms", late, most=12)
    yield verdict("RSS, MB", max(memory), most=120)
    growth = memory[-1] - memory[len(memory) // 2]
    yield verdict("RSS growth in the second half, MB", growth, most=2)
    yield verdict("cold start to the first answer, s", cold, most=2)
    yield verdict(f"heavy libraries imported {' '.join(heavy)}", len(heavy), most=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument(
        "--only", nargs="+", default=["direct", "bare ASGI", "bare FastAPI", "ours"]
    )
    parser.add_argument("--smg", help="the SGLang router's program, installed anywhere")
    parser.add_argument("--million", action="store_true", help="1,000,000 requests for the RSS")
    options = parser.parse_args()
    port = free_port()
    upstream = f"http://127.0.0.1:{port}"
    model = started([sys.executable, str(HERE / "_mock.py"), "--port", str(port)], cores()[0])
    results: dict = {}
    memory = [0.0]
    try:
        for name in [*options.only, *(["smg"] if options.smg else [])]:
            with serving(name, upstream, free_port(), options) as served:
                results[name] = measured(served, options)
                if name == "ours":
                    memory = million(served, 1_000_000 if options.million else 20_000)
            print(json.dumps({"server": name, **results[name]}), flush=True)
        if "ours" not in results:
            return
        cold = {name: cold_start(name, upstream, options) for name in ("bare ASGI", "ours")}
    finally:
        model.terminate()
        model.wait()
    heavy = heavy_imports()
    print(json.dumps({"cold_start_s": cold, "heavy_imports": heavy, "rss_mb": memory}))
    if {"direct", "bare ASGI"} <= results.keys():
        print("\n".join(verdicts(results, cold["ours"], heavy, memory)))


if __name__ == "__main__":
    main()
