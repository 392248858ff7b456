import base64
import hmac

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from api import security
from api.main import create_app
from api.security import (
    Access,
    GuardedRoute,
    OpenBindError,
    access_of,
    check_routes,
    guard_for,
    is_guarded,
)
from tests.unit.api.conftest import KEY, make_context

PUBLIC = {"/health", "/ready"}


@pytest.fixture(scope="module")
def app():
    return create_app(make_context(guard_for("127.0.0.1", SecretStr(KEY))))


def all_routes(app):
    return list(iter_route_contexts(app.routes))


def test_a_guard_stands_before_every_route_whosever_it_is(app):
    routes = all_routes(app)
    assert len(routes) > 40
    assert [r.path for r in routes if not is_guarded(r.original_route)] == []


def test_exactly_health_and_readiness_are_open(app):
    open_paths = {
        route.path
        for route in all_routes(app)
        if isinstance(route.original_route, GuardedRoute)
        and access_of(route.endpoint) is Access.PUBLIC
    }
    assert open_paths == PUBLIC


def test_every_route_answers_401_without_the_key_before_it_looks_at_anything(app, locked):
    asked = 0
    for route in all_routes(app):
        if route.path in PUBLIC:
            continue
        path = route.path.replace("{name:path}", "x").replace("{", "").replace("}", "")
        for method in sorted(route.methods or {"GET"}):
            answer = locked.request(
                method, path, content=b"{not json", headers={"content-type": "application/json"}
            )
            assert answer.status_code == 401, (method, path)
            asked += 1
    assert asked > 40


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/docs/swagger-ui.css", "/"])
def test_the_documentation_is_behind_the_key_too(locked, path):
    assert locked.get(path, follow_redirects=False).status_code == 401


def test_the_key_opens_as_bearer_and_as_the_password_of_basic(locked):
    basic = base64.b64encode(f"anybody:{KEY}".encode()).decode()
    bearer = f"Bearer {KEY}".encode()
    assert locked.get("/api/v1/version", headers={"authorization": bearer}).status_code == 200
    shown = {"authorization": f"Basic {basic}"}
    assert locked.get("/api/v1/version", headers=shown).status_code == 200


@pytest.mark.parametrize(
    "shown",
    [
        "Bearer wrong",
        "Bearer",
        "Bearer " + KEY[:-1],
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Digest " + KEY,
        KEY,
    ],
)
def test_anything_else_is_refused_with_a_challenge(locked, shown):
    answer = locked.get("/api/v1/version", headers={"authorization": shown.encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"
    assert KEY not in answer.text


def test_a_browser_is_asked_for_a_password_and_a_program_for_a_key(locked):
    page = locked.get("/docs", headers={"accept": "text/html,application/xhtml+xml"})
    assert page.headers["www-authenticate"].startswith("Basic")
    program = locked.get("/openapi.json", headers={"accept": "application/json"})
    assert program.headers["www-authenticate"].startswith("Bearer")


def test_keys_are_compared_in_constant_time(locked, monkeypatch):
    compared = []

    class Watched:
        @staticmethod
        def compare_digest(a, b):
            compared.append((a, b))
            return hmac.compare_digest(a, b)

    monkeypatch.setattr(security, "hmac", Watched)
    locked.get("/api/v1/version", headers={"authorization": "Bearer wrong"})
    assert compared == [(b"wrong", KEY.encode())]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", ""])  # noqa: S104
def test_an_address_others_can_reach_needs_a_key(host):
    with pytest.raises(OpenBindError, match="HIKAKU_API_KEY"):
        guard_for(host, None)
    with pytest.raises(OpenBindError):
        guard_for(host, SecretStr("  "))
    assert guard_for(host, SecretStr("k")).api_key is not None


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.53"])
def test_loopback_needs_none(host):
    assert guard_for(host, None).api_key is None


@pytest.mark.parametrize("host", ["127.0.0.1:8420", "LOCALHOST", "[::1]:8420", "localhost:1"])
def test_a_loopback_server_answers_to_its_own_names(client, host):
    assert client.get("/api/v1/version", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "foo?", "[::1"]
)
def test_a_loopback_server_does_not_answer_to_other_names(client, host):
    for path in ("/api/v1/version", "/health", "/docs", "/v1/models"):
        assert client.get(path, headers={"host": host}).status_code == 400, path


@pytest.mark.parametrize(
    "sent",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/jobs"),
        ("DELETE", "/api/v1/schedules/x"),
        ("PATCH", "/api/v1/schedules/x"),
        ("POST", "/v1/chat/completions"),
    ],
)
def test_a_page_of_another_site_changes_nothing(client, sent, method, path):
    answer = client.request(method, path, headers=sent, content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


def test_an_origin_that_is_no_address_is_another_site(client):
    answer = client.post("/api/v1/jobs", headers={"origin": "http://["}, content=b"{}")
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_site")


def test_our_own_page_may(client):
    sent = {"origin": "http://127.0.0.1:8420", "sec-fetch-site": "same-origin"}
    answer = client.post("/api/v1/chat", headers=sent, json={"endpoint": "echo", "template": "hi"})
    assert answer.status_code == 200


def test_an_application_with_a_bare_route_does_not_start():
    async def leak(_):
        return PlainTextResponse("secret")

    for route in (Route("/leak", leak), Mount("/leak", routes=[Route("/", leak)])):
        app = FastAPI(openapi_url=None)
        app.router.routes.append(route)
        with pytest.raises(RuntimeError, match="/leak"):
            check_routes(app)


def test_an_application_with_a_bare_included_router_does_not_start():
    router = APIRouter()
    router.add_api_route("/leak", lambda: "secret")
    app = FastAPI(openapi_url=None)
    app.include_router(router, prefix="/deep")
    with pytest.raises(RuntimeError, match="/leak"):
        check_routes(app)


def test_every_answer_carries_the_security_headers(client):
    for path in ("/health", "/nowhere", "/docs", "/api/v1/endpoints"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
