"""The gateway alone: a line per call, whose key was used, and the schema of its file."""

import json
import time
from decimal import Decimal

import httpx2

from tests.support.gateway_server import serving

CONFIG = """
endpoints:
  - name: echo
    endpoint_type: llm/v1/chat
    model: {provider: echo, name: parrot}
    limits: {per_key: {concurrency: 5}}
    price: {input_usd_per_million_tokens: 1, output_usd_per_million_tokens: 2}
"""


def test_every_call_is_one_line_of_json(tmp_path):
    config, log = tmp_path / "gateway.yaml", tmp_path / "usage.jsonl"
    config.write_text(CONFIG, encoding="utf-8")
    environ = {"HIKAKU_USAGE_LOG": str(log), "HIKAKU_API_KEY": "a-long-key", "HIKAKU_REDIS_URL": ""}
    key = {"Authorization": "Bearer a-long-key"}
    body = {"model": "echo", "messages": [{"role": "user", "content": "りんご"}]}
    with serving(config, environ) as url:
        for _ in range(3):
            answer = httpx2.post(f"{url}/v1/chat/completions", json=body, headers=key)
            assert answer.status_code == 200
        schema = httpx2.get(f"{url}/schemas/gateway.schema.json", headers=key)
        assert schema.json()["title"] == "Endpoints of the gateway"
        deadline = time.monotonic() + 20
        while not log.exists() or len(log.read_text(encoding="utf-8").splitlines()) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert [line["endpoint"] for line in lines] == ["echo"] * 3
    assert {line["outcome"] for line in lines} == {"ok"}
    assert all(line["caller"].startswith("key-") for line in lines)
    price = {"input_usd_per_million_tokens": "1", "output_usd_per_million_tokens": "2"}
    for line in lines:
        assert (line["price"], line["price_source"]) == (price, "gateway file")
        counted = line["input_tokens"] + 2 * line["output_tokens"]
        assert Decimal(line["cost_usd"]) == Decimal(counted) / 1_000_000 > 0
    assert "a-long-key" not in log.read_text(encoding="utf-8")
    assert log.stat().st_mode & 0o077 == 0
