"""Access tokens that run out: fetched by an OAuth form, kept until shortly before their end."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec

from gateway.config import Endpoint
from gateway.errors import AccessDenied, MalformedAnswer
from gateway.http import Transport, WireRequest, call

_MARGIN = 60.0
"""Seconds before its end at which a token is fetched anew."""

_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class _Grant(msgspec.Struct):
    access_token: str
    expires_in: float = 3600.0


@dataclass(frozen=True, slots=True)
class _Kept:
    token: str
    until: float


class TokenSource:
    """Gives a valid token; however many calls ask at once, it fetches one."""

    def __init__(
        self,
        request: WireRequest,
        transport: Transport,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._request = request
        self._transport = transport
        self._clock = clock
        self._fetching = asyncio.Lock()
        self._kept: _Kept | None = None

    async def token(self) -> str:
        """A token that is valid for a minute at least.

        Raises:
            AccessDenied: The credentials are refused.
            GatewayError: The token server fails.
        """
        async with self._fetching:
            if self._kept is None or self._clock() >= self._kept.until:
                self._kept = await self._fetched()
            return self._kept.token

    async def _fetched(self) -> _Kept:
        begun = self._clock()
        reply = await self._asked()
        try:
            grant = msgspec.json.decode(reply, type=_Grant)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedAnswer(f"the token server gave no token: {error}") from error
        return _Kept(grant.access_token, begun + max(grant.expires_in - _MARGIN, 1.0))

    async def _asked(self) -> bytes:
        return (await call(self._transport, self._request)).body


def databricks_tokens(endpoint: Endpoint, transport: Transport, host: str) -> TokenSource:
    """Of a service principal in a workspace, by its own client credentials."""
    name, secret = endpoint.options.get("client_id"), endpoint.secrets.get("client_secret")
    if not isinstance(name, str) or secret is None:
        raise AccessDenied("a Databricks endpoint needs `token`, or `client_id` and its secret")
    credentials = b64encode(f"{name}:{secret}".encode()).decode()
    request = WireRequest(
        url=f"{host}/oidc/v1/token",
        body=urlencode({"grant_type": "client_credentials", "scope": "all-apis"}).encode(),
        headers=_FORM | {"Authorization": f"Basic {credentials}"},
        timeouts=endpoint.timeouts,
    )
    return TokenSource(request, transport)


def ibm_tokens(endpoint: Endpoint, transport: Transport) -> TokenSource:
    """Of an API key of IBM Cloud, by its identity and access management."""
    form = {
        "grant_type": "urn:ibm:params:oauth:grant-type:apikey",
        "apikey": endpoint.secret or "",
    }
    request = WireRequest(
        url=str(endpoint.options.get("iam_url")),
        body=urlencode(form).encode(),
        headers=_FORM,
        timeouts=endpoint.timeouts,
    )
    return TokenSource(request, transport)
