"""Access to AWS: signatures by botocore, credentials from the file, the machine, or a role."""

import asyncio
import html
import logging
import re
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Protocol
from urllib.parse import urlencode

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session
from botocore.tokens import ScopedEnvTokenProvider
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import EndpointUnavailable, MalformedAnswer
from gateway.http import Transport, WireRequest, call
from gateway.types import JSON

log = logging.getLogger(__name__)

_MARGIN = 60.0
"""Seconds before the end of a role's session at which it is taken anew."""
_STS_VERSION = "2011-06-15"


class Purse(Protocol):
    """Gives the credentials to sign with."""

    async def credentials(self) -> ReadOnlyCredentials:
        """Those that are valid now."""
        ...


class Given(Purse):
    """Credentials that stand in the file."""

    def __init__(self, key_id: str, secret: str, token: str | None) -> None:
        self._credentials = ReadOnlyCredentials(key_id, secret, token)

    @override
    async def credentials(self) -> ReadOnlyCredentials:
        return self._credentials


class Machine(Purse):
    """AWS's own chain: variables, profiles, web identity, container and instance."""

    def __init__(self) -> None:
        self._found: Credentials | None = None

    @override
    async def credentials(self) -> ReadOnlyCredentials:
        # In a thread: the chain reads files and may ask the machine's metadata service.
        return await asyncio.to_thread(self._current)

    def _current(self) -> ReadOnlyCredentials:
        try:
            self._found = self._found or _session().get_credentials()
            if self._found is not None:
                return self._found.get_frozen_credentials()
        except BotoCoreError as error:
            # It may name addresses and files of this machine.
            log.warning("no AWS credentials: %s", error)
            kind = type(error).__name__
            raise EndpointUnavailable(f"no AWS credentials ({kind}): see the log") from error
        raise EndpointUnavailable("there are no AWS credentials, in the file or on the machine")


class Role(Purse):
    """A role that is assumed with other credentials; however many ask at once, it is once."""

    def __init__(
        self,
        base: Purse,
        endpoint: Endpoint,
        transport: Transport,
        *,
        region: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        config = aws_config(endpoint)
        self._base = base
        self._transport = transport
        self._region = region
        self._timeouts = endpoint.timeouts
        self._seconds = int(str(config.get("session_length_seconds", 900)))
        self._form = {
            "Action": "AssumeRole",
            "Version": _STS_VERSION,
            "RoleArn": str(config.get("aws_role_arn")),
            "RoleSessionName": "hikaku",
            "DurationSeconds": str(self._seconds),
        }
        self._clock = clock
        self._assuming = asyncio.Lock()
        self._kept: tuple[ReadOnlyCredentials, float] | None = None

    @override
    async def credentials(self) -> ReadOnlyCredentials:
        async with self._assuming:
            if self._kept is None or self._clock() >= self._kept[1]:
                begun = self._clock()
                self._kept = await self._assumed(), begun + self._seconds - _MARGIN
            return self._kept[0]

    async def _assumed(self) -> ReadOnlyCredentials:
        request = WireRequest(
            url=f"https://sts.{self._region}.{_domain(self._region)}/",
            body=urlencode(self._form).encode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            timeouts=self._timeouts,
        )
        signed = sign(request, await self._base.credentials(), service="sts", region=self._region)
        answer = (await call(self._transport, signed)).body.decode("utf-8", "replace")
        found = [_element(answer, n) for n in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
        return ReadOnlyCredentials(*found)


class Access:
    """How one endpoint's requests are made AWS's: signed, or with a bearer token."""

    def __init__(self, endpoint: Endpoint, transport: Transport) -> None:
        config = aws_config(endpoint)
        secrets = {k.removeprefix("aws_config."): v for k, v in endpoint.secrets.items()}
        region = config.get("aws_region") or _session().get_config_variable("region")
        if not isinstance(region, str):
            raise EndpointUnavailable(f"the endpoint `{endpoint.name}`: `aws_region` is missing")
        self.region = region
        self._bearer = secrets.get("aws_bearer_token")
        self._purse: Purse
        if "aws_access_key_id" in secrets:
            key_id, secret = secrets["aws_access_key_id"], secrets["aws_secret_access_key"]
            self._purse = Given(key_id, secret, secrets.get("aws_session_token"))
        else:
            self._purse = Machine()
            if self._bearer is None and "aws_role_arn" not in config:
                self._bearer = _machine_bearer()
        if "aws_role_arn" in config:
            self._purse = Role(self._purse, endpoint, transport, region=region)

    def host(self, service: str) -> str:
        """The address of a service in the endpoint's region."""
        return f"https://{service}.{self.region}.{_domain(self.region)}"

    async def admitted(self, request: WireRequest) -> WireRequest:
        """The request with what lets it in."""
        if self._bearer is not None:
            return _with_headers(
                request, {**request.headers, "Authorization": f"Bearer {self._bearer}"}
            )
        credentials = await self._purse.credentials()
        return sign(request, credentials, service="bedrock", region=self.region)


def sign(
    request: WireRequest, credentials: ReadOnlyCredentials, *, service: str, region: str
) -> WireRequest:
    """The request with a signature of version 4 over its method, address, headers and body."""
    unsigned = AWSRequest(
        method=request.method, url=request.url, data=request.body, headers=dict(request.headers)
    )
    SigV4Auth(credentials, service, region).add_auth(unsigned)
    return _with_headers(request, dict(unsigned.headers.items()))


def aws_config(endpoint: Endpoint) -> Mapping[str, JSON]:
    """`aws_config` of an endpoint, without its secrets."""
    config = endpoint.options.get("aws_config")
    return config if isinstance(config, dict) else {}


@cache
def _session() -> Session:
    """What botocore knows of the machine; it takes milliseconds to make, and is made once."""
    return Session()


def _machine_bearer() -> str | None:
    """The token meant for Bedrock; a login by SSO has tokens too, and they are not for it."""
    token = ScopedEnvTokenProvider(_session()).load_token(signing_name="bedrock")
    return str(token.token) if token is not None else None


def _with_headers(request: WireRequest, headers: Mapping[str, str]) -> WireRequest:
    return WireRequest(
        url=request.url,
        body=request.body,
        method=request.method,
        headers=headers,
        timeouts=request.timeouts,
    )


def _domain(region: str) -> str:
    return "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"


def _element(answer: str, name: str) -> str:
    found = re.search(f"<{name}>([^<]+)</{name}>", answer)
    if found is None:
        raise MalformedAnswer(f"AWS assumed the role, and gave no {name}")
    return html.unescape(found[1])
