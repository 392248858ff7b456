"""A Hikaku server that lives in memory: enough of the HTTP API for the client's tests."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx2

Answer = httpx2.Response | Exception
OUTCOMES = (
    "ok",
    "truncated",
    "refused",
    "invalid_request",
    "rate_limited",
    "timeout",
    "provider_error",
    "malformed",
    "budget_skipped",
    "cancelled",
)
FAILED = {"invalid_request", "rate_limited", "timeout", "provider_error", "malformed"}


def counts(total: int, **outcomes: int) -> dict[str, int]:
    done = sum(outcomes.values())
    failed = sum(n for name, n in outcomes.items() if name in FAILED)
    known = dict.fromkeys(OUTCOMES, 0) | outcomes
    return {"total": total, "done": done, "pending": total - done, "failed": failed, **known}


def job(**changes: object) -> dict[str, object]:
    """A job of two endpoints, 60 cells each, all answered unless changed."""
    endpoints = [
        {"name": name, "provider": "tgi", "model": name, "counts": counts(60, ok=60)}
        for name in ("smollm2-135m-instruct", "qwen2.5-coder-0.5b-instruct")
    ]
    return {
        "id": "job_01kb2v6x3f4n8q0r5s7t9w1y2z",
        "name": "初めてのジョブ",
        "state": "completed",
        "created_at": "2026-11-21T02:00:00Z",
        "started_at": "2026-11-21T02:00:01Z",
        "finished_at": "2026-11-21T02:00:59Z",
        "error": None,
        "counts": counts(120, ok=120),
        "calls": 120,
        "repeated_calls": 0,
        "reused": 0,
        "rate_per_second": None,
        "eta_seconds": None,
        "cost_usd": None,
        "cost_unknown_calls": 120,
        "tokens": {"input": 2400, "output": 1930},
        "endpoints": endpoints,
        "dataset": {"id": "ds_1", "name": None, "revision": None, "n_rows": 60},
        "scorers": [{"name": "contains", "type": "contains", "version": 1, "target": None}],
        "repeats": 1,
        "baseline": "smollm2-135m-instruct",
        "reuse": "write",
        "tags": {},
        "mlflow": {"state": "synced", "run_id": "r", "url": "http://mlflow/#/runs/r"},
        **changes,
    }


def estimate(mean: float | None, low: float | None, high: float | None, n: int = 60) -> object:
    shares = {"n": n, "cells": n, "coverage": n / 60, "method": "wilson"}
    return {**shares, "mean": mean, "low": low, "high": high}


def paired(
    difference: float, low: float | None, high: float | None, p_value: float | None
) -> object:
    return {
        "pairs": 59,
        "difference": difference,
        "low": low,
        "high": high,
        "p_value": p_value,
        "method": "newcombe",
        "wins": 21,
        "losses": 5,
        "ties": 33,
    }


def comparison(**changes: object) -> Any:
    job_id = "job_01kb2v6x3f4n8q0r5s7t9w1y2z"
    first = {
        "job": job_id,
        "endpoint": "smollm2-135m-instruct",
        "model": "SmolLM2-135M",
        "cells": 60,
        "outcomes": {"ok": 60},
        "scores": {"contains": estimate(0.2167, 0.131, 0.337)},
        "latency_ms": {"p50": 212.4, "p95": 480.0},
        "tokens": {"input": 1180, "output": 960},
        "cost_usd": None,
        "versus_baseline": None,
    }
    second = {
        **first,
        "endpoint": "qwen2.5-coder-0.5b-instruct",
        "outcomes": {"ok": 57, "truncated": 2, "provider_error": 1},
        "scores": {"contains": estimate(0.4915, 0.368, 0.616, 59)},
        "latency_ms": {"p50": 640.0, "p95": 1320.0},
        "versus_baseline": {"contains": paired(0.271, 0.112, 0.413, 0.0025)},
    }
    return {
        "baseline": {"job": job_id, "endpoint": "smollm2-135m-instruct"},
        "confidence": 0.95,
        "columns": [first, second],
        "warnings": [],
        **changes,
    }


def cell(row: int, **changes: object) -> dict[str, object]:
    return {
        "id": f"{row}",
        "row": row,
        "row_key": f"k{row}",
        "endpoint": "qwen2.5-coder-0.5b-instruct",
        "repeat": 0,
        "outcome": "ok",
        "completion": "りんごは赤色です。",
        "finish_reason": "stop",
        "input_tokens": 20,
        "output_tokens": 6,
        "latency_ms": 640.5,
        "cost_usd": None,
        "error": None,
        "attempts": 1,
        "reused": False,
        "variables": {"object": "りんご"},
        "scores": {"contains": {"value": 1.0, "unscored": None, "detail": None}},
        **changes,
    }


def page(items: list[dict[str, object]], *, has_more: bool = False) -> dict[str, object]:
    ends = {"first_id": None, "last_id": items[-1]["id"] if items else None}
    return {"data": items, **ends, "has_more": has_more}


def problem(status: int, detail: str, **more: object) -> httpx2.Response:
    body = {"type": "about:blank", "title": "", "status": status, "detail": detail, **more}
    return httpx2.Response(status, json=body, headers={"content-type": "application/problem+json"})


@dataclass
class FakeServer:
    """Answers what it was told to; remembers what it was asked.

    A route's answers are given in order, and the last one stays.
    """

    routes: dict[str, list[object]] = field(default_factory=dict)
    requests: list[httpx2.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def on(self, route: str, *answers: object) -> "FakeServer":
        self.routes[route] = list(answers)
        return self

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.bodies.append(request.read())
        self.requests.append(request)
        route = f"{request.method} {request.url.path.removeprefix('/api/v1')}"
        answers = self.routes.get(route)
        if answers is None:
            return problem(404, f"nothing at {route}")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        match answer:
            case httpx2.Response():
                return answer
            case Exception():
                raise answer
            case _ if callable(answer):
                return _reply(answer(request))
            case _:
                return _reply(answer)

    def sent(self, position: int = -1) -> object:
        return json.loads(self.bodies[position])

    def asked(self, route: str) -> list[dict[str, list[str]]]:
        """The queries of every request to a route."""
        found = (r for r in self.requests if f"{r.method} {r.url.path}" == route)
        return [parse_qs(request.url.query.decode()) for request in found]


def _reply(answer: object) -> httpx2.Response:
    if isinstance(answer, httpx2.Response):
        return answer
    return httpx2.Response(200, json=answer)


def running(*done: int, last: dict[str, object] | None = None) -> Iterator[dict[str, object]]:
    """Looks at a job on its way, then at its end."""
    for n in done:
        half = counts(60, ok=n // 2)
        endpoints = [{"name": f"endpoint-{i}", "counts": half} for i in range(2)]
        pace = {"rate_per_second": 4.0, "eta_seconds": (120 - n) / 4}
        yield job(state="running", counts=counts(120, ok=n), endpoints=endpoints, **pace)
    yield last or job()


Handler = Callable[[httpx2.Request], httpx2.Response]
