"""A gateway that stands alone says what it serves, and why a newer file is not in use."""

import subprocess
import sys
from pathlib import Path

import httpx2

from tests.support.gateway_server import ROOT, serving

GOOD = """
endpoints:
  - {name: chat, endpoint_type: llm/v1/chat, model: {provider: echo}}
  - name: keyless
    endpoint_type: llm/v1/chat
    model: {provider: openai, name: m, config: {openai_api_key: $NO_SUCH_KEY_HERE}}
"""


def listing(url: str) -> str:
    """What `hikaku endpoint ls` prints."""
    command = [str(Path(sys.executable).with_name("hikaku")), "endpoint", "ls", "--url", url]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=True
    )
    return done.stdout + done.stderr


def test_a_file_that_cannot_be_used_is_told_by_the_gateway_itself_and_by_the_command(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD, encoding="utf-8")
    with serving(file) as url, httpx2.Client(base_url=url, trust_env=False) as client:
        told = client.get("/api/v1/endpoints").json()
        assert [(e["name"], e["available"]) for e in told["data"]] == [
            ("chat", True), ("keyless", False),
        ]  # fmt: skip
        assert "NO_SUCH_KEY_HERE" in told["data"][1]["reason"]
        assert told["config"]["error"] is None

        file.write_text(GOOD.replace("endpoint_type", "endpont_type", 1), encoding="utf-8")
        refused = client.post("/api/v1/endpoints/reload")
        assert refused.status_code == 422
        assert "did you mean `endpoint_type`?" in refused.json()["detail"]
        told = client.get("/api/v1/endpoints").json()
        assert len(told["data"]) == 2
        assert "line 3, column" in told["config"]["error"]
        assert "did you mean `endpoint_type`?" in listing(url)

        file.write_text(GOOD.replace("chat,", "other,", 1), encoding="utf-8")
        told = client.post("/api/v1/endpoints/reload").json()
        assert told["data"][0]["name"] == "other"
        assert told["config"]["error"] is None
