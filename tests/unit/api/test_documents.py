import json
import re

import pytest

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def document(client):
    return client.get("/openapi.json").json()


def operations(document):
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in METHODS
    ]


def test_every_operation_is_described(document):
    assert document["openapi"].startswith("3.1")
    assert len(operations(document)) >= 25
    for path, method, operation in operations(document):
        assert operation.get("summary"), (method, path)
        assert operation.get("description"), (method, path)
        assert operation["tags"]


def test_every_json_body_has_an_example(document):
    for path, method, operation in operations(document):
        body = operation.get("requestBody")
        if body and "application/json" in body["content"]:
            content = body["content"]["application/json"]
            assert "examples" in content or "example" in content, (method, path)


def test_failures_are_problems(document):
    for path, method, operation in operations(document):
        for status, answer in operation["responses"].items():
            if status[0] in "45" and path != "/ready" and not path.startswith("/v1/"):
                assert list(answer["content"]) == ["application/problem+json"], (method, path)


def test_failures_of_openais_paths_are_in_its_words(document):
    failure = {"schema": {"$ref": "#/components/schemas/OpenAIFailure"}}
    for path in ("/v1/files", "/v1/batches"):
        for method, operation in document["paths"][path].items():
            assert "422" not in operation["responses"], method
            assert operation["responses"]["400"]["content"] == {"application/json": failure}


def test_only_health_and_readiness_are_documented_as_open(document):
    is_open = {path for path, _, operation in operations(document) if not operation["security"]}
    assert is_open == {"/health", "/ready"}


def test_every_reference_leads_somewhere(document):
    schemas = document["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)):
        assert name in schemas


def test_every_integer_that_can_be_sent_is_capped(document):
    for path, method, operation in operations(document):
        for parameter in operation.get("parameters", []):
            for schema in [parameter["schema"], *parameter["schema"].get("anyOf", [])]:
                if schema.get("type") == "integer":
                    assert "maximum" in schema, (method, path, parameter["name"])


def test_swagger_comes_from_here_alone(client):
    page = client.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert loaded
    for address in loaded:
        if not address.startswith("data:"):
            found = client.get("/" + address)
            assert found.status_code == 200
            assert len(found.content) > 100
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text


def test_no_other_file_of_the_package_is_served(client):
    for name in ("LICENSE", "../LICENSE", "%2e%2e/LICENSE", "swagger-ui.css.map"):
        assert client.get(f"/docs/{name}").status_code in {404, 422}


def test_the_schema_of_the_gateways_file_is_served(client):
    answer = client.get("/api/v1/endpoints/schema")
    assert answer.headers["content-type"] == "application/schema+json"
    assert "EndpointEntry" in answer.json()["$defs"]
