"""Ours beside MLflow's own gateways: one file, one vendor, the same requests to both."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.clients.originals import original
from tests.clients.vendor import selling
from tests.support.gateway_server import serving

TEXT = "りんごは何色ですか？"
CHAT = [{"role": "user", "content": TEXT}]
MODEL = '{provider: openai, name: "%(model)s", config: {openai_api_key: k-of-ours, openai_api_base: "%(url)s"}}'  # noqa: E501 - one line of YAML
FILES = {
    "mlflow28": ("routes", "route_type"),
    "mlflow3": ("endpoints", "endpoint_type"),
}
AGENTS = {"mlflow28": "mlflow-python-client/2.8.1", "mlflow3": "mlflow-python-client/3.17.2"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Both:
    name: str
    theirs: httpx2.Client
    ours: httpx2.Client

    def ask(self, method: str, path: str, body: object = None) -> tuple[Any, Any]:
        raw = body if isinstance(body, bytes) else None
        given: dict[str, Any] = {"content": raw} if raw is not None else {"json": body}
        if method == "GET":
            given = {}
        answers = [
            client.request(method, path, headers={"content-type": "application/json"}, **given)
            for client in (self.theirs, self.ours)
        ]
        return answers[0], answers[1]


@pytest.fixture(scope="module", params=list(FILES))
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("originals")
    with selling() as vendor:
        config = _written(request.param, vendor.url, folder)
        agent = {"user-agent": AGENTS[request.param]}
        with (
            original(request.param, config) as theirs,
            serving(config) as ours,
            httpx2.Client(base_url=theirs, trust_env=False, timeout=60, headers=agent) as first,
            httpx2.Client(base_url=ours, trust_env=False, timeout=60, headers=agent) as second,
        ):
            yield Both(name=request.param, theirs=first, ours=second)


def test_lists_are_equal_to_the_letter(both):
    paths = ["/api/2.0/gateway/routes/", "/api/2.0/gateway/routes/chat"]
    if both.name == "mlflow3":
        paths += ["/api/2.0/endpoints/", "/api/2.0/endpoints/chat", "/health"]
        paths += ["/api/2.0/endpoints/nobody", "/api/3.0/gateway/endpoint/chat"]
    paths += ["/api/2.0/gateway/routes/nobody"]
    for path in paths:
        theirs, ours = both.ask("GET", path)
        assert ours.status_code == theirs.status_code, path
        found = ours.json()
        # The generation before limits has no word of them; its client ignores the key.
        if both.name == "mlflow28":
            for entry in [found, *found.get("routes", [])]:
                entry.pop("limit", None)
        assert found == theirs.json(), path


def test_answers_have_every_key_of_theirs_with_the_same_value(both):
    old = both.name == "mlflow28"
    asked: list[tuple[str, dict[str, Any]]] = [
        ("chat", {"messages": CHAT, "temperature": 0.5, "max_tokens": 9, "stop": ["x"]}),
        ("chat", {"messages": CHAT, "temperature": "0.5", "max_tokens": "9"}),
        ("vectors", {"text" if old else "input": [TEXT, "b"]}),
    ]
    if old:
        # Later ones cannot read what a vendor answers to a completion.
        asked.append(("text", {"prompt": TEXT, "candidate_count": 1}))
    for name, body in asked:
        theirs, ours = both.ask("POST", f"/gateway/{name}/invocations", body)
        assert (theirs.status_code, ours.status_code) == (200, 200), (name, theirs.text, ours.text)
        _holds(ours.json(), theirs.json(), name)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("chat", {}),
        ("chat", {"messages": []}),
        ("chat", {"messages": "x"}),
        ("chat", {"messages": ["x"]}),
        ("chat", {"messages": [{"content": "x"}]}),
        ("chat", {"messages": [{"role": 1, "content": "x"}]}),
        ("chat", {"messages": CHAT, "temperature": -1}),
        ("chat", {"messages": CHAT, "temperature": 3}),
        ("chat", {"messages": CHAT, "temperature": "warm"}),
        ("chat", {"messages": CHAT, "max_tokens": 0}),
        ("chat", {"messages": CHAT, "max_tokens": 1.5}),
        ("chat", {"messages": CHAT, "stop": "x"}),
        ("chat", {"messages": CHAT, "stop": []}),
        ("chat", {"messages": CHAT, "stop": [1]}),
        ("text", {"prompt": 7}),
        ("text", {}),
        ("vectors", {}),
        ("vectors", {"texts": 7}),
        ("chat", {"messages": CHAT, "max_tokens": "many"}),
        ("chat", b"{"),
        ("chat", b"[]"),
    ],
)
def test_what_they_refuse_is_refused_for_the_same_reason(both, name, body):
    if isinstance(body, dict) and "texts" in body:
        body = {"text" if both.name == "mlflow28" else "input": body["texts"]}
    theirs, ours = both.ask("POST", f"/gateway/{name}/invocations", body)
    assert (theirs.status_code, ours.status_code) == (422, 422), (theirs.text, ours.text)
    assert _faults(ours.json()) == _faults(theirs.json()), (theirs.text, ours.text)


def test_a_model_is_not_named_twice(both):
    body = {"messages": CHAT, "model": "other"}
    theirs, ours = both.ask("POST", "/gateway/chat/invocations", body)
    assert ours.status_code == theirs.status_code == 422
    assert ours.json() == theirs.json()


def test_a_vendors_refusal_keeps_its_status_and_words(both):
    theirs, ours = both.ask("POST", "/gateway/refuses/invocations", {"messages": CHAT})
    assert ours.status_code == theirs.status_code == 400
    assert ours.json() == theirs.json()
    theirs, ours = both.ask("POST", "/gateway/closed/invocations", {"messages": CHAT})
    assert ours.status_code == theirs.status_code == 429
    assert ours.json() == theirs.json()
    # Theirs loses when to come again.
    assert ("retry-after" in theirs.headers, ours.headers["retry-after"]) == (False, "3600")


def test_limits_are_not_implemented_by_either(both):
    theirs, ours = both.ask("GET", "/api/2.0/gateway/limits/chat")
    assert ours.status_code == theirs.status_code == 501


def _written(name: str, url: str, folder: Path) -> Path:
    key, kind = FILES[name]
    lines = [f"{key}:"]
    rows = {"chat": "chat", "refuses": "chat", "closed": "chat", "text": "completions"}
    for entry, task in (rows | {"vectors": "embeddings"}).items():
        model = MODEL % {"model": entry, "url": url}
        lines += [f"  - name: {entry}", f"    {kind}: llm/v1/{task}", f"    model: {model}"]
    config = folder / f"{name}.yaml"
    config.write_text("\n".join(lines), encoding="utf-8")
    return config


def _holds(ours: Any, theirs: Any, place: str) -> None:
    """Whether ours has all that theirs has; what varies by call is only there."""
    if isinstance(theirs, dict):
        for key, value in theirs.items():
            if key == "provider" or value is None:
                continue  # Of no client: a null that we leave out, and who answered.
            assert key in ours, f"{place}.{key}"
            if key not in {"id", "created"}:
                _holds(ours[key], value, f"{place}.{key}")
    elif isinstance(theirs, list):
        assert len(ours) == len(theirs), place
        for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            _holds(mine, other, f"{place}[{index}]")
    else:
        assert ours == theirs, place


def _faults(body: Any) -> Any:
    if isinstance(body["detail"], str):
        return body["detail"]
    return [(fault["type"], fault["loc"][:2], fault["msg"]) for fault in body["detail"]]
