"""Access to Google Cloud: a service account's key, or a user's login, exchanged for tokens."""

import asyncio
import time
from urllib.parse import urlencode

import msgspec
from typing_extensions import override

from gateway.config import Timeouts
from gateway.errors import EndpointUnavailable, InvalidRequest
from gateway.http import Transport, WireRequest, call
from gateway.providers.tokens import TokenSource

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_METADATA_URL = (
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
)
METADATA = "metadata"
"""In the place of credentials: the machine is Google's, and knows who it is."""
_BY_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFETIME = 3600
"""Seconds that an assertion is valid: the most that Google allows."""


class ServiceAccount(msgspec.Struct, tag_field="type", tag="service_account"):
    """The parts of a key file that count."""

    client_email: str
    private_key: str
    private_key_id: str | None = None
    token_uri: str = _TOKEN_URL


class _User(msgspec.Struct, tag_field="type", tag="authorized_user"):
    client_id: str
    client_secret: str
    refresh_token: str
    token_uri: str = _TOKEN_URL


_CREDENTIALS = msgspec.json.Decoder(ServiceAccount | _User)


class GoogleTokens(TokenSource):
    """Tokens for the holder of a service account's key, or for a user who has logged in."""

    def __init__(self, credentials: str, transport: Transport, timeouts: Timeouts) -> None:
        self._credentials = _read(credentials)
        self._timeouts = timeouts
        super().__init__(WireRequest(url=self._credentials.token_uri), transport)

    @override
    async def _asked(self) -> bytes:
        # In a thread: signing imports its library, and computes for milliseconds.
        try:
            return (await call(self._transport, await asyncio.to_thread(self._grant))).body
        except InvalidRequest as error:  # Google's word for credentials that are void: 400.
            raise EndpointUnavailable(f"Google gives no token: {error.message}") from error

    def _grant(self) -> WireRequest:
        return WireRequest(
            url=self._credentials.token_uri,
            body=urlencode(_form(self._credentials)).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            timeouts=self._timeouts,
        )


def google_tokens(credentials: str, transport: Transport, timeouts: Timeouts) -> TokenSource:
    """Tokens for Google Cloud.

    Args:
        credentials: A key or a login as JSON; or `metadata`: ask the machine, which is Google's.
        transport: Carries the exchange.
        timeouts: Of the exchange.

    Raises:
        EndpointUnavailable: The credentials are of no known kind.
    """
    if credentials != METADATA:
        return GoogleTokens(credentials, transport, timeouts)
    request = WireRequest(
        url=_METADATA_URL, method="GET", headers={"Metadata-Flavor": "Google"}, timeouts=timeouts
    )
    return TokenSource(request, transport)


def _form(credentials: ServiceAccount | _User) -> dict[str, str]:
    match credentials:
        case ServiceAccount() as account:
            return {"grant_type": _BY_JWT, "assertion": assertion(account, now=time.time())}
        case _User() as user:
            return {
                "grant_type": "refresh_token",
                "client_id": user.client_id,
                "client_secret": user.client_secret,
                "refresh_token": user.refresh_token,
            }


def assertion(account: ServiceAccount, *, now: float) -> str:
    """What a service account signs to be given a token (RFC 7523)."""
    # Not above: it takes a sixth of a second to import, and most gateways do without.
    from google.auth.crypt import RSASigner  # noqa: PLC0415
    from google.auth.jwt import encode  # noqa: PLC0415

    claims = {
        "iss": account.client_email,
        "scope": _SCOPE,
        "aud": account.token_uri,
        "iat": int(now),
        "exp": int(now) + _LIFETIME,
    }
    try:
        signer = RSASigner.from_string(  # type: ignore[no-untyped-call]
            account.private_key, account.private_key_id
        )
    except ValueError as error:
        raise EndpointUnavailable("`vertex_credentials` hold no usable private key") from error
    token: bytes = encode(signer, claims)  # type: ignore[no-untyped-call]
    return token.decode("ascii")


def _read(credentials: str) -> ServiceAccount | _User:
    try:
        found: ServiceAccount | _User = _CREDENTIALS.decode(credentials)
    except msgspec.DecodeError as error:
        raise EndpointUnavailable(
            f"`vertex_credentials` are neither a service account's key nor a user's login: {error}"
        ) from error
    return found
