from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from gateway.config import Timeouts, parse
from gateway.errors import EndpointUnavailable, Unavailable
from gateway.http import Reply, WireRequest
from gateway.providers import bind
from gateway.providers.google_tokens import METADATA, google_tokens
from tests.support.gateway_wire import ScriptedTransport, reply

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(
    serialization.Encoding.PEM,
    serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption(),
).decode()
ACCOUNT = {
    "type": "service_account",
    "project_id": "p-1",
    "private_key_id": "k-1",
    "private_key": PEM,
    "client_email": "robot@p-1.example",
    "token_uri": "https://oauth2.example/token",
}
LOGIN = {
    "type": "authorized_user",
    "client_id": "c",
    "client_secret": "s",
    "refresh_token": "r",
}
VERTEX = """
endpoints:
  - name: it
    endpoint_type: llm/v1/chat
    model: {provider: vertex-ai, name: gemini-x, config: {vertex_project: p-1%s}}
"""


def granted(request: WireRequest) -> Reply:
    if "token" in request.url:
        return reply(body={"access_token": "ya29.it", "expires_in": 3599, "token_type": "Bearer"})
    parts = [{"text": "赤"}]
    return reply(body={"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]})


def unsealed(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def test_a_service_account_signs_what_google_can_check():
    transport = ScriptedTransport(granted)
    tokens = google_tokens(msgspec.json.encode(ACCOUNT).decode(), transport, Timeouts())
    assert await tokens.token() == "ya29.it"
    (request,) = transport.requests
    assert request.url == "https://oauth2.example/token"
    form = parse_qs(request.body.decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    head, claims, signature = form["assertion"][0].split(".")
    KEY.public_key().verify(
        unsealed(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
    )
    assert msgspec.json.decode(unsealed(head)) == {"typ": "JWT", "alg": "RS256", "kid": "k-1"}
    told: dict[str, Any] = msgspec.json.decode(unsealed(claims))
    assert told["exp"] - told.pop("iat") == 3600
    del told["exp"]
    assert told == {
        "iss": "robot@p-1.example",
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": "https://oauth2.example/token",
    }


async def test_a_login_is_refreshed_and_its_token_kept():
    transport = ScriptedTransport(granted)
    tokens = google_tokens(msgspec.json.encode(LOGIN).decode(), transport, Timeouts())
    assert [await tokens.token() for _ in range(3)] == ["ya29.it"] * 3
    (request,) = transport.requests
    assert request.url == "https://oauth2.googleapis.com/token"
    assert parse_qs(request.body.decode()) == {
        "grant_type": ["refresh_token"],
        "client_id": ["c"],
        "client_secret": ["s"],
        "refresh_token": ["r"],
    }


async def test_a_machine_of_googles_is_asked_for_its_own_token():
    transport = ScriptedTransport(granted)
    assert await google_tokens(METADATA, transport, Timeouts()).token() == "ya29.it"
    (request,) = transport.requests
    assert (request.method, request.headers["Metadata-Flavor"]) == ("GET", "Google")
    assert request.url.startswith("http://metadata.google.internal/")


async def test_void_credentials_are_not_tried_for_ever_but_a_broken_server_is_tried_again():
    answer = reply(400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."})
    tokens = google_tokens(
        msgspec.json.encode(ACCOUNT).decode(), ScriptedTransport(lambda _: answer), Timeouts()
    )
    with pytest.raises(EndpointUnavailable, match="invalid_grant"):
        await tokens.token()
    broken = ScriptedTransport(lambda _: reply(503, {}))
    with pytest.raises(Unavailable):
        await google_tokens(msgspec.json.encode(LOGIN).decode(), broken, Timeouts()).token()


@pytest.mark.parametrize(
    "credentials",
    ["{}", "not json", '{"type": "external_account"}', '{"type": "service_account"}'],
)
def test_credentials_of_no_known_kind_are_refused_without_repeating_them(credentials):
    with pytest.raises(EndpointUnavailable, match="neither a service account"):
        google_tokens(credentials, ScriptedTransport(granted), Timeouts())


async def test_a_private_key_that_is_none_is_refused():
    credentials = msgspec.json.encode({**ACCOUNT, "private_key": "x"}).decode()
    with pytest.raises(EndpointUnavailable, match="no usable private key") as caught:
        await google_tokens(credentials, ScriptedTransport(granted), Timeouts()).token()
    assert PEM not in str(caught.value)


async def test_credentials_are_read_out_of_the_file_that_the_configuration_names(tmp_path: Path):
    path = tmp_path / "key.json"
    path.write_bytes(msgspec.json.encode(ACCOUNT))
    endpoint = parse(VERTEX % f", vertex_credentials: '{path}'", {}).endpoints["it"]
    assert PEM not in repr(endpoint) + str(endpoint.settings)
    transport = ScriptedTransport(granted)
    answer = await bind(endpoint, transport).chat({"messages": [{"role": "user", "content": "x"}]})
    assert answer.text == "赤"
    assert [r.headers.get("Authorization") for r in transport.requests] == [None, "Bearer ya29.it"]


def test_the_machines_own_login_is_found_as_google_documents(tmp_path: Path):
    login = msgspec.json.encode(LOGIN).decode()
    home = tmp_path / "home"
    (home / ".config" / "gcloud").mkdir(parents=True)
    environ = {"HOME": str(home)}
    assert "vertex_credentials" in (parse(VERTEX % "", environ).endpoints["it"].unavailable or "")
    (home / ".config" / "gcloud" / "application_default_credentials.json").write_text(login)
    found = parse(VERTEX % "", environ).endpoints["it"]
    assert (found.unavailable, found.secrets["vertex_credentials"]) == (None, login)
    lost = parse(VERTEX % "", {"GOOGLE_APPLICATION_CREDENTIALS": "/no/such"}).endpoints["it"]
    assert "/no/such" in (lost.unavailable or "")
    token = ", vertex_access_token: ya29.given"
    given = parse(VERTEX % token, {"GOOGLE_APPLICATION_CREDENTIALS": "/no/such"}).endpoints["it"]
    assert given.unavailable is None


def test_a_partners_model_is_refused_by_name():
    text = VERTEX.replace("gemini-x", "meta/llama-4") % ", vertex_access_token: ya29.given"
    with pytest.raises(EndpointUnavailable, match="meta/llama-4"):
        bind(parse(text, {}).endpoints["it"], ScriptedTransport(granted))


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "https://aiplatform.googleapis.com/"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com/"),
        ("asia-northeast1", "https://asia-northeast1-aiplatform.googleapis.com/"),
    ],
)
async def test_every_kind_of_location_has_its_host(location, host):
    text = VERTEX % f", vertex_access_token: ya29.given, vertex_location: {location}"
    transport = ScriptedTransport(granted)
    provider = bind(parse(text, {}).endpoints["it"], transport)
    await provider.chat({"messages": [{"role": "user", "content": "x"}]})
    assert transport.requests[0].url.startswith(host)
