"""What `config:` of an entry may hold, provider by provider."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

SECRET: dict[str, Any] = {"secret": True}
"""Marks a setting that is resolved as a secret and stays out of fingerprints and listings."""
INCIDENTAL: dict[str, Any] = {"incidental": True}
"""Marks a setting that does not decide what a model answers."""


def _http_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("must be a URL; this one has no valid host or port") from None
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
    max_tokens: int = Field(default=4096, ge=1)
    """For requests that name none: Anthropic wants a number with each of them, and every model of
    its takes this one. An answer that was cut there has the finish reason `length`."""


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
    vertex_anthropic_betas: list[str] | str | None = None
    """Sent as `anthropic-beta` to Claude."""
    api_base: Url | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    """As Anthropic's; unset, as its default."""


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


class WatsonxSettings(Settings):
    """IBM watsonx.ai: an API key of IBM Cloud, or a token of one's own installation."""

    api_key: Secret | None = None
    token: Secret | None = None
    api_base: Url = "https://us-south.ml.cloud.ibm.com"
    project_id: str | None = None
    space_id: str | None = None
    version: str = Field(default="2024-10-08", pattern=r"^\d{4}-\d{2}-\d{2}$")
    iam_url: Url = "https://iam.cloud.ibm.com/identity/token"

    @model_validator(mode="after")
    def _whose(self) -> "WatsonxSettings":
        if (self.project_id is None) == (self.space_id is None):
            raise ValueError("watsonx wants either `project_id` or `space_id`")
        return self


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
