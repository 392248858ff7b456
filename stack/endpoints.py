"""The gateway configuration a stack starts with when the user has none."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from stack.models.registry import Model

_HEAD = """\
# Written when Hikaku starts on this machine, and written anew at its next start.
# To change it, copy it to ./gateway.yaml (beside the folder of the stack) and edit that.
"""
_CONCURRENCY = 4
"""As many as the model server computes at once."""


def write_endpoints(path: Path, models: Sequence[Model], models_url: str | None) -> None:
    """Write endpoints for the local models, one that echoes and one with declared faults."""
    served = {model.id: f"{models_url}/{model.id}" for model in models} if models_url else {}
    write_tgi_endpoints(path, served)


def write_tgi_endpoints(path: Path, served: Mapping[str, str]) -> None:
    """Write endpoints for models behind TGI's wire, by name, and the two that need no model."""
    local = [_tgi(name, url) for name, url in served.items()]
    document = {"endpoints": [*local, _echo(), _chaos()]}
    text = _HEAD + yaml.safe_dump(document, allow_unicode=True, sort_keys=False)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def _tgi(name: str, url: str) -> dict[str, object]:
    return {
        "name": name,
        "endpoint_type": "llm/v1/chat",
        "model": {
            "provider": "huggingface-text-generation-inference",
            "name": name,
            "config": {"hf_server_url": url},
        },
        "limits": {"concurrency": _CONCURRENCY},
    }


def _echo() -> dict[str, object]:
    return {
        "name": "echo",
        "endpoint_type": "llm/v1/chat",
        "model": {"provider": "echo", "name": "echo"},
    }


def _chaos() -> dict[str, object]:
    return {
        "name": "chaos",
        "endpoint_type": "llm/v1/chat",
        "model": {
            "provider": "chaos",
            "name": "chaos",
            "config": {
                "latency": {"median_ms": 200, "sigma": 0.4},
                "rates": {"rate_limited": 0.05, "server_error": 0.02, "reset": 0.01},
                "retry_after_s": 1,
            },
        },
    }
