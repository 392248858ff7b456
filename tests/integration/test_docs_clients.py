"""Every snippet of `docs/gateway-clients.md`, run with nothing but the URL changed."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.environments import python_of
from tests.clients.vendor import Vendor, selling
from tests.support.gateway_server import serving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "gateway-clients.md"
URL = "http://127.0.0.1:8420"
CONFIG = """
endpoints:
  - {name: text, endpoint_type: llm/v1/completions, model: {provider: echo}}
  - {name: vectors, endpoint_type: llm/v1/embeddings, model: {provider: echo}}
  - name: chat
    endpoint_type: llm/v1/chat
    passthrough: true
    model: {provider: openai-compatible, name: m, config: {api_base: "%s"}}
"""
_BLOCK = re.compile(r"^## ([^\n]+)$|^```(sh|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SERVERS = "MLflow's Prompt Engineering page"
"""Runs in `test_surfaces_ui.py`: these lines start servers."""


def snippets(language: str) -> list[tuple[str, str]]:
    """Heading and code of each."""
    found, heading = [], ""
    for match in _BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        heading = match[1] or heading
        if match[2] == language and heading != SERVERS:
            found.append((heading, match[3]))
    return found


@pytest.fixture(scope="module")
def vendor() -> Iterator[Vendor]:
    with selling() as running:
        yield running


@pytest.fixture(scope="module")
def url(vendor: Vendor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config = tmp_path_factory.mktemp("docs") / "gateway.yaml"
    config.write_text(CONFIG % vendor.url, encoding="utf-8")
    with serving(config) as running:
        yield running


def ran(command: list[str]) -> str:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    quiet = {"PYTHONIOENCODING": "utf-8", "PYTHONWARNINGS": "ignore", "NO_PROXY": "127.0.0.1"}
    done = subprocess.run(
        command, env=kept | quiet, capture_output=True, encoding="utf-8", timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("environment", ["mlflow28", "mlflow3"])
def test_every_program_of_the_page_runs(url, environment):
    """Those of one environment in one process: importing MLflow takes longer than all else."""
    theirs = [
        code.replace(URL, url)
        for heading, code in snippets("python")
        if (environment == "mlflow28") == heading.startswith("MLflow 2.8")
    ]
    assert len(theirs) == {"mlflow28": 2, "mlflow3": 4}[environment]
    said = ran([str(python_of(environment)), "-c", "\n".join(theirs)])
    assert said.count("りんごは") >= len(theirs)


def test_every_command_of_the_page_runs(url):
    commands = snippets("sh")
    assert len(commands) == 4
    for _, code in commands:
        said = ran(["sh", "-c", code.replace("curl ", "curl -sS --fail ").replace(URL, url)])
        assert {"り", "ん"} <= set(said) or '"said"' in said
