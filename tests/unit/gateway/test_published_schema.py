"""The published JSON Schema is the one the code has, and judges files as the loader does."""

from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from gateway.config import parse
from gateway.config.published import json_schema, text
from gateway.config.source import read
from gateway.errors import ConfigError
from tests.unit.gateway.test_config import NEW, OLD, POOL

PUBLISHED = Path(__file__).resolve().parents[3] / "docs" / "gateway.schema.json"


def test_what_is_published_is_current():
    said = "python -m gateway.config.published > docs/gateway.schema.json"
    assert PUBLISHED.read_text(encoding="utf-8") == text(), f"run `{said}`"


@pytest.fixture(scope="module")
def validator():
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


EXAMPLES = sorted((PUBLISHED.parents[1] / "examples" / "gateway").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_of_every_generation_are_good_and_lead_editors_to_the_schema(validator, path):
    written = path.read_text(encoding="utf-8")
    found = parse(written, {}, folder=path.parent)
    assert found.endpoints
    assert list(validator.iter_errors(read(written, path.name).value)) == []
    said = written.splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / said).resolve() == PUBLISHED


def test_every_provider_of_mlflow_is_in_the_examples():
    used = {
        e.provider for p in EXAMPLES for e in parse(p.read_text("utf-8"), {}).endpoints.values()
    }
    assert used >= {
        "openai", "anthropic", "cohere", "ai21labs", "mosaicml", "palm", "bedrock", "mistral",
        "huggingface-text-generation-inference", "mlflow-model-serving", "togetherai", "gemini",
    }  # fmt: skip


SPLIT = "  - {name: s, task_type: llm/v1/chat, destinations: [{name: a, traffic_percentage: 100}]}"


@pytest.mark.parametrize(
    "good", [OLD, NEW, POOL, NEW + "routes:\n" + SPLIT.replace("name: a", "name: 質問")]
)
def test_what_the_loader_takes_the_schema_takes(validator, good):
    parse(good, {"SECOND": "http://two"})
    assert list(validator.iter_errors(yaml.safe_load(good))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fallback:", "fallbacks:"),
        ("rpm: 60", "rpm: -1"),
        ("endpoint_type: llm/v1/completions", "endpoint_type: llm/v1/complete"),
        ("when: [timeout]", "when: [late]"),
        ("{provider: tgi, name: qwen}", "{provider: tgi, name: qwen, config: {api_kye: x}}"),
        ("when: always", "when: often"),
        ("endpoints:", "endpoint:"),
        ("period: hour", "period: week"),
    ],
)
def test_what_the_loader_refuses_by_its_shape_the_schema_refuses(validator, old, new):
    bad = POOL.replace(old, new, 1)
    with pytest.raises(ConfigError):
        parse(bad, {"SECOND": "http://two"})
    assert list(validator.iter_errors(yaml.safe_load(bad)))


def test_settings_are_described_and_may_bear_mlflows_names(validator):
    limits = json_schema()["$defs"]["Limits"]["properties"]
    assert limits["rpm"]["description"] == "Calls per minute, retries included."
    named = yaml.safe_load(NEW.replace("OpenAI", "openai"))
    assert list(validator.iter_errors(named)) == []
    named["endpoints"][0]["model"]["config"]["openai_api_kee"] = "x"
    assert list(validator.iter_errors(named))
