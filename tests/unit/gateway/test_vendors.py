"""Provider names: all of MLflow's load with MLflow's own keys, and tokens are fetched once."""

import asyncio
from typing import Any

import msgspec
import pytest

from gateway.config import parse
from gateway.errors import AccessDenied, EndpointUnavailable
from gateway.http import Reply, WireRequest
from gateway.providers import bind, has_responses
from gateway.providers.tokens import TokenSource
from tests.support.gateway_wire import ScriptedTransport, chat_reply, endpoint, reply

KEYS: dict[str, dict[str, Any]] = {
    "openai": {"openai_api_key": "k", "openai_organization": "o"},
    "azure": {
        "openai_api_type": "azuread",
        "openai_api_key": "k",
        "openai_api_base": "https://x.openai.azure.com/",
        "openai_api_version": "2024-05-01",
        "openai_deployment_name": "d",
    },
    "databricks": {"host": "https://h", "client_id": "i", "client_secret": "s"},
    "databricks-model-serving": {"host": "https://h", "token": "t"},
    "deepseek": {"api_key": "k", "api_base": "https://h"},
    "groq": {"api_key": "k"},
    "xai": {"api_key": "k"},
    "openrouter": {"api_key": "k"},
    "ollama": {"api_key": "ollama"},
    "portkey": {"api_key": "k", "portkey_provider": "openai", "provider_api_key": "k"},
    "mistral": {"mistral_api_key": "k"},
    "togetherai": {"togetherai_api_key": "k"},
    "ai21labs": {"ai21labs_api_key": "k"},
    "huggingface-text-generation-inference": {"hf_server_url": "http://h"},
    "mlflow-model-serving": {"model_server_url": "http://h"},
    "HuggingFace_Text_Generation_Inference": {"hf_server_url": "http://h"},
}
GONE: dict[str, tuple[dict[str, Any], str]] = {
    "palm": ({"palm_api_key": "k"}, "gemini"),
    "mosaicml": ({"mosaicml_api_key": "k"}, "databricks"),
    "litellm": ({"litellm_provider": "x", "litellm_auth_config": {"api_key": "k"}}, "proxy"),
    "sap-ai-core": ({}, "openai-compatible"),
    "typesafe": ({"typesafe_api_key": "k"}, "typesafe"),
}


def declared(provider: str, config: dict[str, Any], model: str = "m", **entry: Any) -> str:
    whole = {
        "name": "it",
        "endpoint_type": "llm/v1/chat",
        "model": {"provider": provider, "name": model, "config": config},
    }
    return msgspec.json.encode({"endpoints": [whole | entry]}).decode()


@pytest.mark.parametrize(("provider", "config"), KEYS.items())
def test_mlflows_providers_load_with_mlflows_keys(provider, config):
    found = parse(declared(provider, config), {}).endpoints["it"]
    assert found.unavailable is None
    bind(found, ScriptedTransport(lambda _: chat_reply("x")))


@pytest.mark.parametrize(("provider", "case"), GONE.items())
def test_what_cannot_be_asked_loads_and_says_what_stands_in_its_place(provider, case):
    config, words = case
    catalog = parse(declared(provider, config), {})
    assert words in str(catalog.endpoints["it"].unavailable)
    assert any(words in warning for warning in catalog.warnings)


@pytest.mark.parametrize(
    ("provider", "successor"), [("palm", "gemini"), ("mosaicml", "databricks")]
)
def test_a_retired_service_works_elsewhere_with_a_warning(provider, successor):
    config = {f"{provider}_api_key": "k", f"{provider}_api_base": "http://old"}
    catalog = parse(declared(provider, config), {})
    assert catalog.endpoints["it"].unavailable is None
    assert any(successor in warning for warning in catalog.warnings)


def test_a_withdrawn_model_is_told_by_its_name():
    config = {"ai21labs_api_key": "k"}
    old = parse(declared("ai21labs", config, "j2-ultra", endpoint_type="llm/v1/completions"), {})
    assert any("Jamba" in warning for warning in old.warnings)
    assert parse(declared("ai21labs", config, "jamba-large"), {}).warnings == ()


def test_what_a_vendor_does_not_offer_is_told_before_it_is_asked():
    with pytest.raises(EndpointUnavailable, match="embeddings"):
        bind(
            endpoint("groq", "llm/v1/embeddings", api_key="k"), ScriptedTransport(lambda _: reply())
        )


def test_the_responses_api_is_known_of_those_who_have_it():
    assert has_responses(endpoint("xai", api_key="k"))
    assert not has_responses(endpoint("mistral", api_key="k"))
    assert not has_responses(endpoint("tgi", hf_server_url="http://h"))


def workspace(request: WireRequest) -> Reply:
    if request.url.endswith("/oidc/v1/token"):
        return reply(body={"access_token": "fresh-token", "expires_in": 3600})
    return chat_reply("赤")


async def test_a_service_principal_fetches_one_token_for_all_its_calls():
    transport = ScriptedTransport(workspace)
    served = endpoint("databricks", host="https://h", client_id="i", client_secret="s" * 12)
    provider = bind(served, transport)
    asking: dict[str, Any] = {"messages": [{"role": "user", "content": "q"}]}
    await asyncio.gather(*(provider.chat(asking) for _ in range(5)))
    first, *calls = transport.requests
    assert first.headers["Authorization"] == "Basic aTpzc3Nzc3Nzc3Nzc3M="
    assert first.body == b"grant_type=client_credentials&scope=all-apis"
    assert [c.url for c in calls] == ["https://h/serving-endpoints/chat/completions"] * 5
    assert {c.headers["Authorization"] for c in calls} == {"Bearer fresh-token"}


async def test_a_token_is_fetched_anew_before_it_runs_out():
    now = [0.0]
    transport = ScriptedTransport(lambda _: reply(body={"access_token": "t", "expires_in": 600}))
    source = TokenSource(WireRequest(url="http://iam"), transport, clock=lambda: now[0])
    for moment, fetched in [(0, 1), (539, 1), (541, 2)]:
        now[0] = moment
        assert await source.token() == "t"
        assert len(transport.requests) == fetched


async def test_refused_credentials_are_told_and_asked_again_next_time():
    answers = [reply(401, {"error": "invalid_client"}), reply(body={"access_token": "t"})]
    transport = ScriptedTransport(lambda _: answers.pop(0))
    source = TokenSource(WireRequest(url="http://iam"), transport)
    with pytest.raises(AccessDenied):
        await source.token()
    assert await source.token() == "t"


async def test_watsonx_exchanges_an_api_key_for_a_token():
    def ibm(request: WireRequest) -> Reply:
        if "identity/token" in request.url:
            return reply(body={"access_token": "iam-token", "expires_in": 3600})
        return chat_reply("赤")

    transport = ScriptedTransport(ibm)
    served = endpoint("watsonx", watsonx_api_key="ibm key", space_id="s")
    await bind(served, transport).chat({"messages": [{"role": "user", "content": "q"}]})
    assert b"apikey=ibm+key" in transport.requests[0].body
    assert transport.requests[1].headers["Authorization"] == "Bearer iam-token"
