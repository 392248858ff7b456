"""Where an endpoint of OpenAI's protocol is called, and with which keys."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from gateway.config import Endpoint
from gateway.http import Transport
from gateway.providers.tokens import TokenSource, databricks_tokens, ibm_tokens

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Everything of a request but its body."""

    base_url: str
    headers: Mapping[str, str]
    model: str | None
    """What the body names; None where the address says it, or where nobody has to."""
    in_path: bool = False
    """Whether the address says which model: then the body must not."""
    query: str = ""
    """With its `?`, or nothing."""
    tokens: TokenSource | None = None
    """Gives a bearer token for each call, where there is no lasting key."""
    responses: tuple[str, str | None] | None = None
    """URL and model of the Responses API, where it is not called like the others."""

    async def authorized(self) -> Mapping[str, str]:
        """The headers of one call."""
        if self.tokens is None:
            return self.headers
        return {**self.headers, "Authorization": f"Bearer {await self.tokens.token()}"}


def access_of(endpoint: Endpoint, transport: Transport, base_url: str) -> Access:
    """How `endpoint` is called, by the manners of its vendor."""
    if endpoint.options.get("api_type", "openai") != "openai":
        return _azure(endpoint, base_url)
    match endpoint.provider:
        case "databricks" | "databricks-model-serving":
            return _databricks(endpoint, transport, base_url)
        case "portkey":
            return Access(base_url=base_url, headers=_portkey(endpoint), model=endpoint.model)
        case _:
            query = _version(endpoint)
            headers = _bearer(endpoint)
            return Access(base_url=base_url, headers=headers, model=endpoint.model, query=query)


def bearer_tokens(endpoint: Endpoint, transport: Transport) -> Callable[[], Awaitable[str]]:
    """What gives watsonx its bearer token: one that is configured, or those of IBM's IAM."""
    if (token := endpoint.secrets.get("token")) is None:
        return ibm_tokens(endpoint, transport).token

    async def lasting() -> str:
        return token

    return lasting


def _bearer(endpoint: Endpoint) -> dict[str, str]:
    headers = dict(_JSON)
    if endpoint.secret is not None:
        headers["Authorization"] = f"Bearer {endpoint.secret}"
    if isinstance(organization := endpoint.options.get("organization"), str):
        headers["OpenAI-Organization"] = organization
    return headers


def _version(endpoint: Endpoint) -> str:
    version = endpoint.options.get("api_version")
    return f"?api-version={quote(version, safe='')}" if isinstance(version, str) else ""


def _azure(endpoint: Endpoint, base_url: str) -> Access:
    """Dated versions name the deployment in the path; version 1 names it in the body."""
    key = endpoint.secret or ""
    own = {"Authorization": f"Bearer {key}"}
    headers = _JSON | (own if endpoint.options.get("api_type") == "azuread" else {"api-key": key})
    root = base_url.removesuffix("/openai/v1").removesuffix("/openai")
    given = endpoint.options.get("deployment_name")
    deployment = given if isinstance(given, str) else endpoint.model
    if query := _version(endpoint):
        return Access(
            base_url=f"{root}/openai/deployments/{quote(deployment or '', safe='')}",
            headers=headers,
            model=None,
            in_path=True,
            query=query,
            responses=(f"{root}/openai/responses{query}", deployment),
        )
    return Access(base_url=f"{root}/openai/v1", headers=headers, model=deployment)


def _databricks(endpoint: Endpoint, transport: Transport, host: str) -> Access:
    base_url = host.removesuffix("/serving-endpoints") + "/serving-endpoints"
    if (token := endpoint.secrets.get("token")) is not None:
        headers = _JSON | {"Authorization": f"Bearer {token}"}
        return Access(base_url=base_url, headers=headers, model=endpoint.model)
    tokens = databricks_tokens(endpoint, transport, host.removesuffix("/serving-endpoints"))
    return Access(base_url=base_url, headers=_JSON, model=endpoint.model, tokens=tokens)


def _portkey(endpoint: Endpoint) -> dict[str, str]:
    headers = _JSON | {"x-portkey-api-key": endpoint.secret or ""}
    for name in ("provider", "config"):
        if isinstance(value := endpoint.options.get(name), str):
            headers[f"x-portkey-{name}"] = value
    if (key := endpoint.secrets.get("provider_api_key")) is not None:
        headers["Authorization"] = f"Bearer {key}"
    return headers
