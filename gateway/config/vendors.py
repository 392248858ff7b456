"""Which provider names there are, the wire each one speaks, and what each of them needs."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.config.ambient import google_login
from gateway.config.compatible import COMPATIBLE, Compatible, Habits
from gateway.config.secrets import Resolver
from gateway.config.vendor_settings import (
    AnthropicSettings,
    AzureSettings,
    BedrockSettings,
    ChaosSettings,
    CohereSettings,
    CompatibleSettings,
    DatabricksSettings,
    EchoSettings,
    GeminiSettings,
    MlflowServingSettings,
    OpenAISettings,
    PortkeySettings,
    RetiredSettings,
    Settings,
    TgiSettings,
    VertexSettings,
    WatsonxSettings,
)
from gateway.types import JSON, EndpointType


class Wire(StrEnum):
    """A wire protocol; one file in `gateway/providers/` each."""

    OPENAI = "openai"
    TGI = "tgi"
    ANTHROPIC = "anthropic"
    COHERE = "cohere"
    GEMINI = "gemini"
    VERTEX = "vertex"
    BEDROCK = "bedrock"
    MLFLOW_SERVING = "mlflow_serving"
    WATSONX = "watsonx"
    PALM = "palm"
    MOSAICML = "mosaicml"
    ECHO = "echo"
    CHAOS = "chaos"
    ABSENT = "absent"  #: A name other gateways know and this one cannot speak to yet.


Lacking = Callable[[Mapping[str, JSON], Collection[str]], str | None]
"""(settings, names of the secrets there are) to what else has to be set, in a sentence."""


Found = Callable[[Resolver, Mapping[str, object]], str | None]
"""(look-ups, settings given) to the value of a setting that was not given, or None."""


def _nothing_lacks(_settings: Mapping[str, JSON], _secrets: Collection[str]) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """One provider name: a row of data."""

    wire: Wire
    settings: type[Settings] | None
    base_url: str | None = None
    needs_key: bool = False
    habits: Habits = field(default_factory=Habits)
    lacking: Lacking = _nothing_lacks
    found: Mapping[str, Found] = field(default_factory=dict[str, Found])
    """Settings that a machine may know when the file does not."""
    retired: str | None = None
    """Of a service that is shut down: what stands in its place, in a sentence."""
    retired_models: Mapping[str, str] = field(default_factory=dict[str, str])
    """Beginning of a model's name -> the same of that model."""

    def farewell(self, model: str | None) -> str | None:
        """What is shut down of what `model` needs; None when nothing is."""
        gone = (s for start, s in self.retired_models.items() if (model or "").startswith(start))
        return self.retired or next(gone, None)


def _azure_lacks(settings: Mapping[str, JSON], _secrets: Collection[str]) -> str | None:
    if settings.get("api_type", "openai") == "openai":
        return None
    return None if "api_base" in settings else "`openai_api_base` is missing: Azure's is your own"


def _databricks_lacks(settings: Mapping[str, JSON], secrets: Collection[str]) -> str | None:
    if "host" not in settings:
        return "`host` is missing: the address of the workspace"
    principal = "client_id" in settings and "client_secret" in secrets
    return None if "token" in secrets or principal else "`token` is missing"


def _vertex_lacks(_settings: Mapping[str, JSON], secrets: Collection[str]) -> str | None:
    if {"vertex_credentials", "vertex_access_token"} & set(secrets):
        return None
    return "`vertex_credentials` is missing, and the machine has no login for Google Cloud"


def _watsonx_lacks(_settings: Mapping[str, JSON], secrets: Collection[str]) -> str | None:
    return None if {"api_key", "token"} & set(secrets) else "`api_key` is missing"


def _absent(words: str) -> Vendor:
    return Vendor(wire=Wire.ABSENT, settings=None, lacking=lambda _settings, _secrets: words)


def _retired(wire: Wire, words: str) -> Vendor:
    def lacks(settings: Mapping[str, JSON], _secrets: Collection[str]) -> str | None:
        if "api_base" in settings:
            return None
        return f"{words}; or set `{wire}_api_base` to a server that speaks its protocol"

    return Vendor(wire=wire, settings=RetiredSettings, lacking=lacks, retired=words)


def _compatible(row: Compatible) -> Vendor:
    return Vendor(
        wire=Wire.OPENAI,
        settings=CompatibleSettings,
        base_url=row.base_url,
        needs_key=row.needs_key,
        habits=row.habits,
        retired_models=row.retired_models,
    )


_DATABRICKS = Vendor(wire=Wire.OPENAI, settings=DatabricksSettings, lacking=_databricks_lacks)
_HAS_RESPONSES = Habits(responses=True)
_BEDROCK = Vendor(wire=Wire.BEDROCK, settings=BedrockSettings)
_TGI = Vendor(wire=Wire.TGI, settings=TgiSettings)

VENDORS: Mapping[str, Vendor] = {
    **{name: _compatible(row) for name, row in COMPATIBLE.items()},
    "openai": Vendor(
        wire=Wire.OPENAI,
        settings=OpenAISettings,
        base_url="https://api.openai.com/v1",
        needs_key=True,
        habits=_HAS_RESPONSES,
        lacking=_azure_lacks,
    ),
    "azure": Vendor(
        wire=Wire.OPENAI,
        settings=AzureSettings,
        needs_key=True,
        habits=_HAS_RESPONSES,
        lacking=_azure_lacks,
    ),
    "databricks": _DATABRICKS,
    "databricks-model-serving": _DATABRICKS,
    "portkey": Vendor(
        wire=Wire.OPENAI,
        settings=PortkeySettings,
        base_url="https://api.portkey.ai/v1",
        needs_key=True,
    ),
    "anthropic": Vendor(
        wire=Wire.ANTHROPIC,
        settings=AnthropicSettings,
        base_url="https://api.anthropic.com/v1",
        needs_key=True,
    ),
    "cohere": Vendor(
        wire=Wire.COHERE,
        settings=CohereSettings,
        base_url="https://api.cohere.com/v2",
        needs_key=True,
    ),
    "gemini": Vendor(
        wire=Wire.GEMINI,
        settings=GeminiSettings,
        base_url="https://generativelanguage.googleapis.com/v1beta",
        needs_key=True,
    ),
    "vertex-ai": Vendor(
        wire=Wire.VERTEX,
        settings=VertexSettings,
        lacking=_vertex_lacks,
        found={"vertex_credentials": google_login},
    ),
    "bedrock": _BEDROCK,
    "amazon-bedrock": _BEDROCK,
    "huggingface-text-generation-inference": _TGI,
    "tgi": _TGI,
    "mlflow-model-serving": Vendor(wire=Wire.MLFLOW_SERVING, settings=MlflowServingSettings),
    "echo": Vendor(wire=Wire.ECHO, settings=EchoSettings),
    "chaos": Vendor(wire=Wire.CHAOS, settings=ChaosSettings),
    "palm": _retired(
        Wire.PALM, "Google has shut the PaLM API down: `provider: gemini` stands in its place"
    ),
    "mosaicml": _retired(
        Wire.MOSAICML,
        "MosaicML's inference service is shut down: `provider: databricks` stands in its place",
    ),
    "watsonx": Vendor(
        wire=Wire.WATSONX,
        settings=WatsonxSettings,
        habits=Habits(
            lacks=frozenset({EndpointType.COMPLETIONS}),
            unsaid=frozenset({"stream_options"}),
            refused=frozenset({"parallel_tool_calls"}),
        ),
        lacking=_watsonx_lacks,
    ),
    "litellm": _absent(
        "`litellm` is a library in front of others: name the vendor itself as `provider`, or"
        " `openai-compatible` with the address of a LiteLLM proxy as `api_base`"
    ),
    "sap-ai-core": _absent(
        "the orchestration of `sap-ai-core` is not spoken here: use `openai-compatible` with the"
        " address of a deployment as `api_base`"
    ),
    "typesafe": _absent("`typesafe` has no chat, completions or embeddings to offer"),
}  # fmt: skip
"""By name, lower case with `-`; MLflow takes `_` and capitals for the same."""


def canonical(provider: str) -> str:
    """The name as it stands in `VENDORS`."""
    return provider.lower().replace("_", "-")


_SPEAKS_FOR = {"azure": "openai"}
"""Providers whose settings bear another's name in MLflow's files."""


def unprefixed(provider: str, key: str) -> str:
    """MLflow's `openai_api_key`, `togetherai_api_key` ... without the provider's name."""
    own = key.removeprefix(provider.replace("-", "_") + "_")
    return own.removeprefix(_SPEAKS_FOR.get(provider, provider) + "_")
