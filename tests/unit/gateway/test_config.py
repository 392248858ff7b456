import pytest

from gateway.config import Wire, parse
from gateway.errors import ConfigError
from gateway.types import EndpointType

OLD = """
routes:
  - name: completions
    route_type: llm/v1/completions
    model:
      provider: openai
      name: gpt-3.5-turbo
      config:
        openai_api_key: $OPENAI_API_KEY
"""
NEW = """
endpoints:
  - name: 質問
    endpoint_type: llm/v1/chat
    limit: {calls: 2, renewal_period: minute, key: null}
    model: {provider: OpenAI, name: gpt-4o, config: {openai_api_key: sk-1}}
"""
ECHO = "{name: %s, endpoint_type: llm/v1/chat, model: {provider: echo}}"


def test_routes_of_mlflow_2_8_are_read():
    endpoint = parse(OLD, {"OPENAI_API_KEY": "sk"}).endpoints["completions"]
    assert endpoint.endpoint_type is EndpointType.COMPLETIONS
    assert (endpoint.provider, endpoint.model) == ("openai", "gpt-3.5-turbo")
    assert endpoint.declared_as == "routes"
    assert endpoint.secret == "sk"
    assert endpoint.unavailable is None


def test_endpoints_of_mlflow_3_are_read_with_capitals_and_japanese_names():
    endpoint = parse(NEW, {}).endpoints["質問"]
    assert endpoint.provider == "openai"
    assert endpoint.declared_as == "endpoints"
    assert endpoint.limit is not None
    assert endpoint.limit.calls == 2


def test_traffic_routes_stand_beside_old_routes_in_one_list():
    text = f"""
endpoints: [{ECHO % "a"}, {ECHO % "b"}]
routes:
  - {{name: old, route_type: llm/v1/chat, model: {{provider: echo}}}}
  - name: split
    task_type: llm/v1/chat
    routing_strategy: TRAFFIC_SPLIT
    destinations:
      - {{name: a, traffic_percentage: 80}}
      - {{name: b, traffic_percentage: 20}}
"""
    catalog = parse(text, {})
    assert list(catalog.endpoints) == ["a", "b", "old"]
    assert catalog.routes["split"].shares == (("a", 80), ("b", 20))


def test_a_missing_secret_makes_its_endpoint_alone_unavailable_and_is_named():
    catalog = parse(OLD + NEW, {})
    assert "OPENAI_API_KEY" in (catalog.endpoints["completions"].unavailable or "")
    assert catalog.endpoints["質問"].unavailable is None


@pytest.mark.parametrize("reference", ["$KEY", "env:KEY", "file:key.txt"])
def test_secrets_come_from_the_environment_and_from_files(reference, tmp_path):
    (tmp_path / "key.txt").write_text("秘密\n", encoding="utf-8")
    text = NEW.replace("sk-1", reference)
    endpoint = parse(text, {"KEY": "秘密"}, folder=tmp_path).endpoints["質問"]
    assert endpoint.secret == "秘密"
    assert "秘密" not in repr(endpoint)
    assert "秘密" not in str(endpoint.settings)


def test_a_fingerprint_ignores_secrets_limits_prices_and_spelling():
    changed = (
        NEW.replace("sk-1", "sk-2").replace("OpenAI", "openai").replace("calls: 2", "calls: 9")
        + "    price: {input_usd_per_million_tokens: 1}\n    limits: {rpm: 3}\n"
    )
    first, second = (parse(text, {}).endpoints["質問"] for text in (NEW, changed))
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("openai_api_key: sk-1", "openai_api_key: sk-1, openai_api_base: http://elsewhere/v1"),
        ("    limit:", "    params: {temperature: 0.3}\n    limit:"),
    ],
)
def test_a_fingerprint_changes_with_model_address_and_default_parameters(old, new):
    before, after = (parse(text, {}).endpoints["質問"] for text in (NEW, NEW.replace(old, new)))
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        (
            "endpoints:\n  - name: a\n    endpoint_typ: llm/v1/chat\n    model: {provider: echo}",
            3,
            5,
            "did you mean `endpoint_type`?",
        ),
        ("endpoint:\n  - name: a\n", 1, 1, "did you mean `endpoints`?"),
        (
            (
                "endpoints:\n- name: a\n  endpoint_type: llm/v1/chat\n  model:\n"
                "    provider: openai\n    config:\n      openai_api_kye: $X\n"
            ),
            7,
            7,
            "openai_api_kye",
        ),
        (
            "endpoints:\n- {name: a, endpoint_type: llm/v1/chat, model: {provider: opnai}}",
            2,
            49,
            "did you mean `openai`?",
        ),
        ("endpoints:\n- name: a\n  name: b\n", 3, 3, "twice"),
        ("endpoints:\n- name: a\n  model: {provider: echo}\n", 2, 3, "`endpoint_type` is missing"),
        (
            (
                "endpoints:\n- {name: a, endpoint_type: llm/v1/chat, model: {provider: chaos,"
                " config: {rates: {reset: 0.9, hang: 0.9}}}}"
            ),
            2,
            75,
            "more than 1",
        ),
    ],
)
def test_mistakes_are_shown_with_line_column_and_the_nearest_known_word(text, line, column, words):
    with pytest.raises(ConfigError) as caught:
        parse(text, {})
    assert (caught.value.line, caught.value.column) == (line, column)
    assert words in str(caught.value)
    assert text.splitlines()[line - 1] in str(caught.value)


def test_wrong_indentation_is_shown_with_the_mend():
    text = "routes:\n  - name: completions\n  route_type: llm/v1/completions\n"
    with pytest.raises(ConfigError, match="indent this line as far as") as caught:
        parse(text, {})
    assert caught.value.line == 3


def test_traffic_must_add_up_and_lead_somewhere():
    text = f"""
endpoints: [{ECHO % "alpha"}]
routes: [{{name: s, task_type: llm/v1/chat, destinations: [{{name: %s, traffic_percentage: %d}}]}}]
"""
    with pytest.raises(ConfigError, match="add up to 90"):
        parse(text % ("alpha", 90), {})
    with pytest.raises(ConfigError, match="did you mean `alpha`"):
        parse(text % ("alhpa", 100), {})


def test_a_provider_that_is_known_but_not_spoken_loads_and_says_so():
    text = NEW.replace("OpenAI", "sap-ai-core")
    endpoint = parse(text, {}).endpoints["質問"]
    assert endpoint.wire is Wire.ABSENT
    assert "sap-ai-core" in (endpoint.unavailable or "")


def test_a_password_in_an_address_is_refused():
    text = NEW.replace("sk-1", "sk-1, openai_api_base: 'http://u:p@host/v1'")
    with pytest.raises(ConfigError, match="must not carry a user"):
        parse(text, {})


POOL = """
endpoints:
  - name: pool
    endpoint_type: llm/v1/completions
    model: {provider: tgi, name: qwen}
    urls: [http://one:8080/, {url: $SECOND, weight: 2, concurrency: 4}]
    health: {path: /ready, interval: 1}
    breaker: {failures: 2}
    fallback: [spare, {endpoint: last, when: [timeout]}]
    limits: {rpm: 60, tpm: 1000, concurrency: 8, per_key: {rpm: 6}, max_wait: 5}
    timeouts: {connect: 1, first_byte: 2, idle: 3, total: 4}
    cache: {ttl: 60}
    price: {input_usd_per_million_tokens: 1}
    budget: {usd: 5, period: hour}
    batch_api: true
  - {name: spare, endpoint_type: llm/v1/completions, model: {provider: echo}}
routes:
  - {name: last, route_type: llm/v1/completions, model: {provider: echo}, cache: {when: always}}
  - name: split
    task_type: llm/v1/completions
    sticky: true
    destinations: [{name: spare, weight: 1}, {name: last, weight: 0.5}]
"""


def test_our_own_keys_stand_under_both_generations_of_entries():
    catalog = parse(POOL, {"SECOND": "http://two"})
    pool = catalog.endpoints["pool"]
    found = [(r.url, r.weight, r.concurrency) for r in pool.replicas]
    assert found == [("http://one:8080", 1, None), ("http://two", 2, 4)]
    assert [f.endpoint for f in pool.fallback] == ["spare", "last"]
    assert "invalid_request" not in pool.fallback[0].when
    assert pool.fallback[1].when == ("timeout",)
    assert pool.batch_api.enabled
    assert catalog.endpoints["last"].cache is not None
    assert catalog.routes["split"].shares == (("spare", 1), ("last", 0.5))
    assert catalog.routes["split"].sticky
    assert catalog.warnings == ()


def test_an_address_of_a_pool_that_is_not_set_makes_the_pool_unavailable():
    catalog = parse(POOL, {})
    assert "SECOND" in (catalog.endpoints["pool"].unavailable or "")
    assert "SECOND" in catalog.warnings[0]


def test_a_pool_is_the_same_endpoint_however_many_servers_it_has():
    two, three = (
        parse(text, {"SECOND": "http://two"}).endpoints["pool"].fingerprint
        for text in (POOL, POOL.replace("urls: [", "urls: [http://three, "))
    )
    assert two == three


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("fallback: [spare,", "fallback: [sparre,", "did you mean `spare`?"),
        ("fallback: [spare,", "fallback: [pool,", "falls back to itself"),
        ("when: [timeout]", "when: [timeot]", "'timeout'"),
        ("{provider: tgi, name: qwen}", "{provider: tgi}", "a pool needs `model.name`"),
        ("name: qwen}", "name: qwen, config: {hf_server_url: http://x}}", "give one of them"),
        ("http://one:8080/", "one:8080", "is no URL of a server"),
        ("http://one:8080/", "http://two/", "stands twice"),
        ("max_wait: 5", "maxwait: 5", "did you mean `max_wait`?"),
        ("weight: 0.5", "traffic_percentage: 50", "or `weight` everywhere"),
    ],
)
def test_our_own_keys_are_checked_like_mlflows(old, new, words):
    with pytest.raises(ConfigError) as caught:
        parse(POOL.replace(old, new), {"SECOND": "http://two"})
    assert words in str(caught.value)
    assert caught.value.line is not None


@pytest.mark.parametrize("margin", ["", "  "])
def test_an_entry_whose_keys_stand_under_its_dash_is_shown_with_the_line_as_it_should_be(margin):
    lines = ("- name: completions", "endpoint_type: llm/v1/completions", "model:")
    text = "endpoints:\n" + "".join(f"{margin}{line}\n" for line in lines) + "    name: gpt\n"
    for repeated in (text, text + text.removeprefix("endpoints:\n")):
        with pytest.raises(ConfigError, match="indent this line as far as") as caught:
            parse(repeated, {})
        assert (caught.value.line, caught.value.column) == (3, len(margin) + 1)
        assert f"    3 | {margin}{lines[1]}\n" in str(caught.value)
        assert str(caught.value).endswith(f"    3 | {margin}  {lines[1]}")


def test_an_existing_file_path_is_read_as_mlflow_reads_it(tmp_path):
    (tmp_path / "key").write_text("sk-file", encoding="utf-8")
    catalog = parse(NEW.replace("sk-1", str(tmp_path / "key")), {})
    assert catalog.endpoints["質問"].secret == "sk-file"
    assert catalog.files == (tmp_path / "key",)


def test_a_date_without_quotes_is_text_as_mlflows_users_write_their_azure_version():
    model = "{provider: azure, name: m, config: {azure_api_key: k, azure_api_base: http://a, %s}}"
    version = model % "api_version: 2023-05-15"
    text = f"endpoints: [{{name: a, endpoint_type: llm/v1/chat, model: {version}}}]"
    assert parse(text, {}).endpoints["a"].options["api_version"] == "2023-05-15"


def test_a_line_in_a_column_of_its_own_is_shown_with_what_to_look_at():
    with pytest.raises(ConfigError, match="Check the indentation") as caught:
        parse("routes:\n  - name: a\n    route_type: llm/v1/chat\n   model: x\n", {})
    assert (caught.value.line, caught.value.column) == (4, 4)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [*a]", "an alias inside of what it stands for"),
        ("endpoints: " + "[" * 3000 + "]" * 3000, "nested more than 50 deep"),
        (
            "endpoints:\n  - " + (ECHO % "a").replace("}}", ", config: {reply: !!binary YQ==}}}"),
            "JSON",
        ),
        (
            "endpoints:\n  - " + (ECHO % "a").replace("}}", "}, params: {temperature: .nan}}"),
            "JSON",
        ),
        ("endpoints:\n  - " + (ECHO % "a").replace("}}", "}, limits: {rpm: 1.0e+400}}"), "JSON"),
        (
            "endpoints:\n  - " + (ECHO % "a").replace("}}", "}, params: {model: other}}"),
            "`params.model`: parameters say how, not what is asked of whom",
        ),
        (
            "endpoints:\n  - " + (ECHO % "a").replace("}}", "}, params: {top_p: 1, stream: true}}"),
            "`params.stream`",
        ),
        (
            "endpoints:\n  - "
            + (ECHO % "a").replace("echo}", "tgi, name: m}, urls: ['http://[::1']"),
            "is no URL of a server",
        ),
    ],
)
def test_what_no_configuration_holds_is_a_mistake_with_its_place_and_not_a_crash(text, words):
    with pytest.raises(ConfigError, match=words) as caught:
        parse(text, {})
    assert caught.value.line is not None


def test_aliases_that_multiply_are_refused_before_they_fill_the_memory():
    levels = [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 8)]
    with pytest.raises(ConfigError, match="aliases make more than"):
        parse("\n".join(["a0: &a0 [1,1,1,1,1,1,1,1,1]", *levels]), {})


@pytest.mark.parametrize(
    "line",
    [
        "openai_api_kee: sk-abcdefghijklmnop",
        "openai_api_kee: plainplainplain",
        "api_key: plainplainplain\n        api_key: plainplainplain",
        "api_base: http://user:plainplainplain@host/v1",
        'openai_api_keyy: "plainplainplain"',
        "whatever: sk-abcdefghijklmnop",
    ],
)
def test_a_line_that_is_shown_does_not_show_the_key_that_stands_on_it(line):
    text = (
        "endpoints:\n  - name: a\n    endpoint_type: llm/v1/chat\n    model:\n"
        f"      provider: openai\n      name: m\n      config:\n        {line}\n"
    )
    with pytest.raises(ConfigError) as caught:
        parse(text, {})
    assert "plainplain" not in str(caught.value)
    assert "abcdefgh" not in str(caught.value)
    assert "***" in str(caught.value)


def test_the_nearest_key_is_spelt_as_the_file_spells_its_keys():
    text = NEW.replace("openai_api_key", "openai_api_kee")
    with pytest.raises(ConfigError, match="did you mean `openai_api_key`"):
        parse(text, {})
