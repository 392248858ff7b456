"""Vertex AI: the doors to Google's and Anthropic's models on Google Cloud."""

from collections.abc import Mapping
from urllib.parse import quote

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import EndpointUnavailable
from gateway.http import Transport, WireRequest
from gateway.providers import anthropic, gemini
from gateway.providers.google_tokens import google_tokens
from gateway.providers.messages import BETAS, betas
from gateway.providers.provider import Provider
from gateway.providers.wishes import Wishes
from gateway.types import JSON

_NO_HEADERS: Mapping[str, str] = {}
_ANTHROPIC_VERSION = "vertex-2023-10-16"
_SPANNING = frozenset({"eu", "us"})
"""Locations that are several regions, and have a host of their own kind."""


class _Entry:
    """Where a publisher's models are, and who may ask them."""

    def __init__(self, endpoint: Endpoint, transport: Transport, publisher: str) -> None:
        options = endpoint.options
        location = str(options.get("vertex_location"))
        project = str(options.get("vertex_project"))
        self._url = (
            f"{endpoint.base_url or _host(location)}/v1/projects/{quote(project, safe=':')}"
            f"/locations/{quote(location, safe='')}/publishers/{publisher}"
            f"/models/"
        )
        self._model = endpoint.model or ""
        self._timeouts = endpoint.timeouts
        self._given = endpoint.secrets.get("vertex_access_token")
        credentials = endpoint.secrets.get("vertex_credentials", "")
        self._tokens = (
            google_tokens(credentials, transport, endpoint.timeouts) if not self._given else None
        )

    async def request(
        self, verb: str, payload: Mapping[str, JSON], headers: Mapping[str, str] = _NO_HEADERS
    ) -> WireRequest:
        """The HTTP request for one verb of the model."""
        return await self._written(self._url + quote(self._model, safe="@"), verb, payload, headers)

    async def count(self, payload: Mapping[str, JSON], headers: Mapping[str, str]) -> WireRequest:
        """The HTTP request that counts tokens: it has a model of its own in its address."""
        named = {"model": self._model, **payload}
        return await self._written(self._url + "count-tokens", "rawPredict", named, headers)

    async def _written(
        self, url: str, verb: str, payload: Mapping[str, JSON], headers: Mapping[str, str]
    ) -> WireRequest:
        token = await self._tokens.token() if self._tokens is not None else self._given
        own = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        return WireRequest(
            url=f"{url}:{verb}",
            body=msgspec.json.encode(payload),
            headers={**headers, **own},
            timeouts=self._timeouts,
        )


class GeminiOnVertex(gemini.Door):
    """Gemini, with a project's token."""

    ids = False  # Vertex refuses ids in the calls of tools.

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        self._entry = _Entry(endpoint, transport, "google")

    @override
    async def request(self, verb: str, payload: Mapping[str, JSON]) -> WireRequest:
        return await self._entry.request(verb, payload)

    @override
    def embedding(self, texts: list[str], wishes: Wishes) -> tuple[str, dict[str, JSON]]:
        more = wishes.carry({"task_type": "task_type", "title": "title"})
        # Its own default cuts long texts without a word.
        cut = wishes.take("auto_truncate") or False
        parameters: dict[str, JSON] = {
            "autoTruncate": cut, **wishes.carry({"dimensions": "outputDimensionality"}),
        }  # fmt: skip
        instances: list[JSON] = [{"content": text, **more} for text in texts]
        return "predict", {"instances": instances, "parameters": parameters}


class ClaudeOnVertex(anthropic.Door):
    """Claude, with a project's token: the model stands in the address."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        self._entry = _Entry(endpoint, transport, "anthropic")
        self._betas = endpoint.options.get("vertex_anthropic_betas")

    @override
    async def request(self, payload: dict[str, JSON], *, stream: bool) -> WireRequest:
        headers = self._headers(payload)
        body = {"anthropic_version": _ANTHROPIC_VERSION, **payload}
        if stream:
            return await self._entry.request("streamRawPredict", body | {"stream": True}, headers)
        return await self._entry.request("rawPredict", body, headers)

    @override
    async def count(self, payload: dict[str, JSON]) -> WireRequest:
        headers = self._headers(payload)
        return await self._entry.count(
            {"anthropic_version": _ANTHROPIC_VERSION, **payload}, headers
        )

    def _headers(self, payload: dict[str, JSON]) -> dict[str, str]:
        """Those about betas, which are taken out of the body."""
        named = betas(self._betas, payload.pop(BETAS, None))
        return {"anthropic-beta": named} if named else {}


def vertex(endpoint: Endpoint, transport: Transport) -> Provider:
    """The provider of a model on Vertex AI, by whose it is.

    Raises:
        EndpointUnavailable: It is a partner's model that speaks another protocol.
    """
    model = endpoint.model or ""
    if model.startswith("claude"):
        door = ClaudeOnVertex(endpoint, transport)
        return anthropic.AnthropicProvider(endpoint, transport, door)
    if "/" in model or model.endswith("-maas"):
        raise EndpointUnavailable(
            f"the endpoint `{endpoint.name}`: of Vertex AI's models, Google's and Anthropic's can "
            f"be asked, not `{model}`"
        )
    return gemini.GeminiProvider(endpoint, transport, GeminiOnVertex(endpoint, transport))


def _host(location: str) -> str:
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in _SPANNING:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"
