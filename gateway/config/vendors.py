"""Which provider names there are, the wire each one speaks, and what its `config:` may hold."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gateway.config.ambient import google_login
from gateway.config.compatible import COMPATIBLE, Compatible, Habits
from gateway.config.secrets import Resolver
from gateway.types import JSON

SECRET: dict[str, Any] = {"secret": True}
"""Marks a setting that is resolved as a secret and stays out of fingerprints and listings."""
INCIDENTAL: dict[str, Any] = {"incidental": True}
"""Marks a setting that does not decide what a model answers."""


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
    PALM = "palm"
    MOSAICML = "mosaicml"
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


class CompatibleSettings(Settings):
    """Any server that speaks OpenAI's protocol."""

    api_key: Secret | None = None
    api_base: Url | None = None
    token_parameter: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The name under which this model takes its limit of tokens; unset, as the request has it."""


class OpenAISettings(CompatibleSettings):
    """OpenAI, and OpenAI's models on Azure."""

    api_type: Literal["openai", "azure", "azuread"] = "openai"
    api_version: str | None = None
    """Of Azure: dated versions have deployments in their paths; without one, its v1 is used."""
    deployment_name: str | None = None
    organization: str | None = None


class AzureSettings(OpenAISettings):
    """The same, where the provider's name says already that it is Azure."""

    api_type: Literal["azure", "azuread"] = "azure"


class DatabricksSettings(Settings):
    """Model serving in a Databricks workspace: a token, or the secret of a service principal."""

    host: Url | None = None
    token: Secret | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    token_parameter: Literal["max_tokens", "max_completion_tokens"] | None = None


class PortkeySettings(CompatibleSettings):
    """Portkey, in front of another vendor."""

    provider: str | None = None
    config: str | None = None
    provider_api_key: Secret | None = None


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


class CohereSettings(Settings):
    """Cohere's API, version 2."""

    api_key: Secret | None = None
    api_base: Url | None = None
    input_type: str | None = None
    """What embedded texts are for, when a request does not say: Cohere wants to know."""


class GeminiSettings(Settings):
    """Google AI."""

    api_key: Secret | None = None
    api_base: Url | None = None


class VertexSettings(Settings):
    """Vertex AI: Google's and Anthropic's models on Google Cloud."""

    vertex_project: str = Field(json_schema_extra=INCIDENTAL)
    vertex_location: str = "global"
    vertex_credentials: Secret | None = None
    """A key or a login, or `metadata` on Google's own machines; unset, the machine's login."""
    vertex_access_token: Secret | None = None
    """Instead of credentials: a token that somebody else renews."""
    vertex_anthropic_betas: list[str] | str | None = Field(
        default=None, json_schema_extra=INCIDENTAL
    )
    """Read and without effect: requests are translated, and their headers stay here."""
    api_base: Url | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    """As Anthropic's."""


class AwsSettings(Settings):
    """Who asks AWS: a token, a key, a role; with none of them, whoever the machine is."""

    aws_region: str | None = None
    aws_access_key_id: Secret | None = None
    aws_secret_access_key: Secret | None = None
    aws_session_token: Secret | None = None
    aws_bearer_token: Secret | None = None
    aws_role_arn: str | None = Field(default=None, json_schema_extra=INCIDENTAL)
    session_length_seconds: int = Field(
        default=900, ge=900, le=43_200, json_schema_extra=INCIDENTAL
    )

    @model_validator(mode="after")
    def _a_whole_key(self) -> "AwsSettings":
        if (self.aws_access_key_id is None) != (self.aws_secret_access_key is None):
            raise ValueError("`aws_access_key_id` and `aws_secret_access_key` belong together")
        return self


class BedrockSettings(Settings):
    """AWS Bedrock's runtime."""

    aws_config: AwsSettings = AwsSettings()
    api_base: Url | None = None
    input_type: str | None = None
    """As Cohere's, for its embeddings."""


class MlflowServingSettings(Settings):
    """A model behind `mlflow models serve`."""

    model_server_url: Url
    input_form: Literal["auto", "strings", "messages", "chat"] = "auto"
    """What of a chat the model takes.

    `strings` is MLflow's own form, with room for one user message; `messages` sends a list of
    {role, content} under `inputs`; `chat` sends the request as it is, for models whose signature
    has `messages`. `auto`: one message as a string, several as a list, and `chat` from then on
    when the model's schema asks for it.
    """


class RetiredSettings(Settings):
    """A service that is shut down: another server that speaks its protocol has to be named."""

    api_key: Secret | None = None
    api_base: Url | None = None


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
_ABSENT = Vendor(wire=Wire.ABSENT, settings=None)

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
    **dict.fromkeys(
        (
            "litellm", "sap-ai-core", "typesafe",
        ),
        _ABSENT,
    ),
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
