"""Which provider names there are, the wire each one speaks, and what its `config:` may hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

SECRET: dict[str, Any] = {"secret": True}
"""Marks a setting that is resolved as a secret and stays out of fingerprints and listings."""
INCIDENTAL: dict[str, Any] = {"incidental": True}
"""Marks a setting that does not decide what a model answers."""


class Wire(StrEnum):
    """A wire protocol; one file in `gateway/providers/` each."""

    OPENAI = "openai"
    TGI = "tgi"
    ANTHROPIC = "anthropic"
    MLFLOW_SERVING = "mlflow_serving"
    ECHO = "echo"
    CHAOS = "chaos"
    ABSENT = "absent"  #: A name other gateways know and this one cannot speak to yet.


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be a URL that begins with http:// or https://")
    if parts.username or parts.password:
        raise ValueError("must not carry a user or password; use api_key")
    return value.rstrip("/")


Url = Annotated[str, AfterValidator(_http_url)]
Secret = Annotated[str, Field(json_schema_extra=SECRET)]


class Settings(BaseModel):
    """Settings of one provider; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OpenAISettings(Settings):
    """Any server that speaks OpenAI's protocol."""

    api_key: Secret | None = None
    api_base: Url | None = None
    api_type: Literal["openai", "azure", "azuread"] = "openai"
    api_version: str | None = None
    deployment_name: str | None = None
    organization: str | None = None


class TgiSettings(Settings):
    """Hugging Face Text Generation Inference."""

    hf_server_url: Url
    api_key: Secret | None = None


class AnthropicSettings(Settings):
    """Anthropic's Messages API."""

    api_key: Secret | None = None
    api_base: Url | None = None
    version: str = "2023-06-01"
    beta: str | None = None
    """Sent as `anthropic-beta`."""
    max_tokens: int | None = Field(default=None, ge=1)
    """For requests that name none: Anthropic wants a number with each of them."""


class MlflowServingSettings(Settings):
    """A model behind `mlflow models serve`."""

    model_server_url: Url
    input_form: Literal["auto", "strings", "messages"] = "auto"
    """`auto`: one user message goes as a string, several as {role, content} objects."""


class EchoSettings(Settings):
    """Answers with the last user message, or always with `reply`."""

    reply: str | None = None
    latency_ms: float = Field(default=0, ge=0, le=600_000)


class Latency(Settings):
    """Lognormal: half of the calls are slower than the median."""

    median_ms: float = Field(default=0, ge=0, le=600_000)
    sigma: float = Field(default=0, ge=0, le=3)


class FaultRates(Settings):
    """Share of the calls that meet each fault; together at most 1."""

    rate_limited: float = Field(default=0, ge=0, le=1)
    server_error: float = Field(default=0, ge=0, le=1)
    reset: float = Field(default=0, ge=0, le=1)
    hang: float = Field(default=0, ge=0, le=1)
    truncated: float = Field(default=0, ge=0, le=1)
    malformed: float = Field(default=0, ge=0, le=1)

    @model_validator(mode="after")
    def _at_most_one(self) -> "FaultRates":
        if (total := sum(self.model_dump().values())) > 1 + 1e-9:
            raise ValueError(f"the rates add up to {total:g}, which is more than 1")
        return self


class ChaosSettings(Settings):
    """Declared faults: a pure function of seed, prompt and attempt."""

    seed: int = 0
    reply: str | None = None
    latency: Latency = Latency()
    rates: FaultRates = FaultRates()
    retry_after_s: float | None = Field(default=None, ge=0, le=3600)
    log: str | None = Field(default=None, json_schema_extra=INCIDENTAL)
    """File that gets one line per call that arrives and per answer that leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One provider name: a row of data."""

    wire: Wire
    settings: type[Settings] | None
    base_url: str | None = None
    needs_key: bool = False


def _openai(base_url: str | None, *, needs_key: bool = True) -> Vendor:
    return Vendor(wire=Wire.OPENAI, settings=OpenAISettings, base_url=base_url, needs_key=needs_key)


_TGI = Vendor(wire=Wire.TGI, settings=TgiSettings)
_ABSENT = Vendor(wire=Wire.ABSENT, settings=None)

VENDORS: Mapping[str, Vendor] = {
    "openai": _openai("https://api.openai.com/v1"),
    "openai-compatible": _openai(None, needs_key=False),
    "vllm": _openai("http://localhost:8000/v1", needs_key=False),
    "sglang": _openai("http://localhost:30000/v1", needs_key=False),
    "llama.cpp": _openai("http://localhost:8080/v1", needs_key=False),
    "ollama": _openai("http://localhost:11434/v1", needs_key=False),
    "groq": _openai("https://api.groq.com/openai/v1"),
    "togetherai": _openai("https://api.together.xyz/v1"),
    "together": _openai("https://api.together.xyz/v1"),
    "deepseek": _openai("https://api.deepseek.com/v1"),
    "xai": _openai("https://api.x.ai/v1"),
    "openrouter": _openai("https://openrouter.ai/api/v1"),
    "mistral": _openai("https://api.mistral.ai/v1"),
    "fireworks": _openai("https://api.fireworks.ai/inference/v1"),
    "perplexity": _openai("https://api.perplexity.ai"),
    "cerebras": _openai("https://api.cerebras.ai/v1"),
    "nvidia-nim": _openai("https://integrate.api.nvidia.com/v1"),
    "anthropic": Vendor(
        wire=Wire.ANTHROPIC,
        settings=AnthropicSettings,
        base_url="https://api.anthropic.com/v1",
        needs_key=True,
    ),
    "huggingface-text-generation-inference": _TGI,
    "tgi": _TGI,
    "mlflow-model-serving": Vendor(wire=Wire.MLFLOW_SERVING, settings=MlflowServingSettings),
    "echo": Vendor(wire=Wire.ECHO, settings=EchoSettings),
    "chaos": Vendor(wire=Wire.CHAOS, settings=ChaosSettings),
    **dict.fromkeys(
        (
            "ai21labs", "amazon-bedrock", "azure", "bedrock", "cohere", "databricks",
            "databricks-model-serving", "gemini", "litellm", "mosaicml", "palm", "portkey",
            "sap-ai-core", "typesafe", "vertex-ai",
        ),
        _ABSENT,
    ),
}  # fmt: skip
"""By name, lower case with `-`; MLflow takes `_` and capitals for the same."""


def canonical(provider: str) -> str:
    """The name as it stands in `VENDORS`."""
    return provider.lower().replace("_", "-")


def unprefixed(provider: str, key: str) -> str:
    """MLflow's `openai_api_key`, `togetherai_api_key` ... without the provider's name."""
    return key.removeprefix(provider.replace("-", "_") + "_")
