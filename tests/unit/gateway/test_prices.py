"""List prices: known only for a vendor's own address, and never above the file's own word."""

import re
from decimal import Decimal

import pytest

from gateway.config import Price, parse
from gateway.config.prices import FROM_FILE, _table, cost, list_price, version
from gateway.config.vendors import VENDORS
from gateway.types import Usage

ENTRY = """
endpoints:
  - name: a
    endpoint_type: llm/v1/chat
    model: {provider: %s, name: %s, config: %s}
"""


def endpoint(provider, model, config="{openai_api_key: k}", more=""):
    return parse((ENTRY % (provider, model, config)) + more, {}).endpoints["a"]


def test_every_line_of_the_table_has_a_page_and_a_month_and_a_known_vendor():
    for vendor in _table().vendor:
        assert vendor.provider in VENDORS
        assert vendor.source.startswith("https://")
        for model in vendor.models:
            assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", model.as_of)
            assert model.as_of <= version()
            for name in model.names:
                listed = list_price(vendor.provider, name)
                assert listed is not None
                assert vendor.source in listed.source
                assert version() in listed.source


def test_cached_input_is_never_dearer_than_other_input():
    for vendor in _table().vendor:
        for model in vendor.models:
            assert model.cached_input is None or model.cached_input <= model.input


def test_a_vendors_model_has_its_list_price():
    found = endpoint("openai", "gpt-4o-mini")
    assert found.price is not None
    assert found.price.input_usd_per_million_tokens == Decimal("0.15")
    assert found.price.cached_input_usd_per_million_tokens == Decimal("0.075")
    assert found.max_output_tokens == 16_384
    assert found.price_source is not None
    assert "platform.openai.com" in found.price_source


def test_the_files_own_price_stands_before_the_list():
    own = endpoint("openai", "gpt-4o", more="    price: {output_usd_per_million_tokens: 7}\n")
    assert own.price is not None
    assert own.price.input_usd_per_million_tokens is None
    assert own.price_source == FROM_FILE


def test_an_empty_price_in_the_file_says_that_none_is_known():
    unknown = endpoint("openai", "gpt-4o", more="    price: {}\n")
    assert unknown.price is not None
    assert unknown.price.output_usd_per_million_tokens is None


@pytest.mark.parametrize(
    ("provider", "model", "config"),
    [
        ("openai", "gpt-99", "{openai_api_key: k}"),
        ("openai", "gpt-4o", "{openai_api_key: k, openai_api_base: 'https://proxy.example/v1'}"),
        ("azure", "gpt-4o", "{openai_api_key: k, openai_api_base: 'https://x.openai.azure.com'}"),
        ("echo", "gpt-4o", "{}"),
        ("tgi", "gpt-4o", "{hf_server_url: 'http://localhost:8080'}"),
    ],
)
def test_another_address_model_or_server_has_no_price(provider, model, config):
    assert endpoint(provider, model, config).price is None


@pytest.mark.parametrize(("heard", "said"), [(-5, 1), (1, -5), (10**400, 1), (1, 2**31)])
def test_counts_that_cannot_be_cost_what_is_not_known_and_give_no_money_back(heard, said):
    price = Price(input_usd_per_million_tokens=Decimal(1), output_usd_per_million_tokens=Decimal(1))
    assert cost(price, Usage(input_tokens=heard, output_tokens=said)) is None
