from collections.abc import Iterator
from dataclasses import replace
from struct import pack
from typing import Any
from zlib import crc32

import msgspec
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Endpoint, parse
from gateway.errors import ConfigError, EndpointUnavailable, MalformedAnswer, UnsupportedParameter
from gateway.http import Reply, WireRequest
from gateway.providers import aws_access, bind
from gateway.providers.aws_stream import Frame, FrameParser
from tests.support.gateway_wire import ScriptedTransport, reply
from tests.support.sigv4 import signature_holds
from tests.support.vendors.bedrock import KEY_ID, SECRET, answer, frame

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "赤？"}]}
KEY = f"aws_region: us-east-1, aws_access_key_id: {KEY_ID}, aws_secret_access_key: {SECRET}"
ROLE = "aws_role_arn: 'arn:aws:iam::1:role/r'"
ASSUMED = b"""<AssumeRoleResponse><AssumeRoleResult><Credentials>
<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>role/secret+=</SecretAccessKey>
<SessionToken>role-token</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[pytest.MonkeyPatch]:
    """A machine that knows nothing of AWS."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_BEARER_TOKEN_BEDROCK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    aws_access._session.cache_clear()
    yield monkeypatch
    aws_access._session.cache_clear()


def endpoint(config: str, model: str = "claude", kind: str = "llm/v1/chat") -> Endpoint:
    text = f"""
endpoints:
  - name: it
    endpoint_type: {kind}
    model: {{provider: bedrock, name: '{model}', config: {{aws_config: {{{config}}}}}}}
"""
    return parse(text, {}).endpoints["it"]


def served(request: WireRequest) -> Reply:
    if request.url.startswith("https://sts."):
        return Reply(status=200, headers={}, body=ASSUMED)
    return reply(body=answer({"text": "赤"}))


def holds(request: WireRequest, secret: str) -> bool:
    return signature_holds(
        request.method, request.url, request.headers, request.body, secret=secret
    )


def test_the_judge_of_signatures_agrees_with_the_published_test_vector():
    """`get-vanilla` of AWS's test suite for signatures of version 4."""
    scope = "20150830/us-east-1/service/aws4_request"
    good = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    headers = {
        "X-Amz-Date": "20150830T123600Z",
        "Authorization": f"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, "
        f"SignedHeaders=host;x-amz-date, Signature={good}",
    }
    secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
    url = "https://example.amazonaws.com/"
    assert signature_holds("GET", url, headers, b"", secret=secret)
    assert not signature_holds("GET", url, headers, b"x", secret=secret)
    assert not signature_holds("GET", url, headers, b"", secret="other")


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("claude", "/model/claude/converse"),
        ("us.anthropic.claude-x-v1:0", "/model/us.anthropic.claude-x-v1%3A0/converse"),
        (
            "arn:aws:bedrock:us-east-1:1:inference-profile/x",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/converse",
        ),
    ],
)
async def test_requests_are_signed_over_what_is_sent(model, path):
    transport = ScriptedTransport(served)
    assert (await bind(endpoint(KEY, model), transport).chat(CHAT)).text == "赤"
    (request,) = transport.requests
    assert request.url == f"https://bedrock-runtime.us-east-1.amazonaws.com{path}"
    assert holds(request, SECRET)
    assert not holds(replace(request, body=request.body + b" "), SECRET)
    assert not holds(request, "another key")


async def test_a_role_is_assumed_once_and_signs_from_then_on():
    transport = ScriptedTransport(served)
    provider = bind(endpoint(f"{KEY}, {ROLE}, session_length_seconds: 1800"), transport)
    await provider.chat(CHAT)
    await provider.chat(CHAT)
    assumed, first, second = transport.requests
    assert assumed.url == "https://sts.us-east-1.amazonaws.com/"
    assert b"RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr" in assumed.body
    assert b"DurationSeconds=1800" in assumed.body
    assert holds(assumed, SECRET)
    for request in (first, second):
        assert request.headers["X-Amz-Security-Token"] == "role-token"
        assert "Credential=ASIAROLE/" in request.headers["Authorization"]
        assert holds(request, "role/secret+=")


async def test_without_a_key_the_machine_is_asked(machine):
    machine.setenv("AWS_DEFAULT_REGION", "ap-northeast-1")
    machine.setenv("AWS_ACCESS_KEY_ID", "AKIAMACHINE")
    machine.setenv("AWS_SECRET_ACCESS_KEY", "of the machine")
    transport = ScriptedTransport(served)
    await bind(endpoint(""), transport).chat(CHAT)
    assert transport.requests[0].url.startswith("https://bedrock-runtime.ap-northeast-1.")
    assert holds(transport.requests[0], "of the machine")


async def test_the_machines_bearer_token_is_used_before_its_key(machine):
    machine.setenv("AWS_BEARER_TOKEN_BEDROCK", "of-the-machine")
    transport = ScriptedTransport(served)
    await bind(endpoint("aws_region: eu-west-1"), transport).chat(CHAT)
    assert transport.requests[0].headers["Authorization"] == "Bearer of-the-machine"


async def test_what_is_missing_is_named(machine):
    with pytest.raises(EndpointUnavailable, match="aws_region"):
        await bind(endpoint(""), ScriptedTransport(served)).chat(CHAT)
    provider = bind(endpoint("aws_region: eu-west-1"), ScriptedTransport(served))
    with pytest.raises(EndpointUnavailable, match="no AWS credentials"):
        await provider.chat(CHAT)


def test_half_a_key_is_an_error_and_secrets_stay_out_of_sight():
    with pytest.raises(ConfigError, match="belong together"):
        endpoint("aws_access_key_id: AKIA")
    found = endpoint(f"{KEY}, {ROLE}")
    shown = repr(found) + str(found.settings) + str(found.options)
    assert SECRET not in shown
    assert KEY_ID not in shown
    assert found.fingerprint == endpoint(KEY).fingerprint


async def test_titan_embeds_one_text_per_call_and_the_tokens_add_up():
    def script(request: WireRequest) -> Reply:
        text = msgspec.json.decode(request.body)["inputText"]
        return reply(body={"embedding": [float(len(text)), 0.5], "inputTextTokenCount": 3})

    transport = ScriptedTransport(script)
    titan = endpoint(KEY, "amazon.titan-embed-text-v2:0", "llm/v1/embeddings")
    got = await bind(titan, transport).embed({"input": ["赤", "あお"], "dimensions": 256})
    assert transport.bodies == [
        {"inputText": "赤", "dimensions": 256},
        {"inputText": "あお", "dimensions": 256},
    ]
    data = msgspec.json.decode(got.raw)["data"]
    assert [item["embedding"] for item in data] == [[1.0, 0.5], [2.0, 0.5]]
    assert got.usage.input_tokens == 6


@pytest.mark.parametrize(
    ("model", "sent", "body", "finish"),
    [
        (
            "us.meta.llama3-1-8b-instruct-v1:0",
            {"prompt": "赤", "max_gen_len": 5, "temperature": 0.5},
            {"generation": "い", "stop_reason": "length", "prompt_token_count": 1},
            "length",
        ),
        (
            "mistral.mixtral-8x7b-instruct-v0:1",
            {"prompt": "赤", "max_tokens": 5, "temperature": 0.5},
            {"outputs": [{"text": "い", "stop_reason": "stop"}]},
            "stop",
        ),
        (
            "cohere.command-text-v14",
            {"prompt": "赤", "max_tokens": 5, "temperature": 0.5},
            {"generations": [{"text": "い", "finish_reason": "MAX_TOKENS"}]},
            "length",
        ),
    ],
)
async def test_models_that_continue_texts_do_so_in_their_own_words(model, sent, body, finish):
    transport = ScriptedTransport(lambda _: reply(body=body))
    provider = bind(endpoint(KEY, model, "llm/v1/completions"), transport)
    got = await provider.complete({"prompt": "赤", "max_tokens": 5, "temperature": 0.5})
    assert transport.bodies == [sent]
    assert transport.requests[0].url.endswith("/invoke")
    assert (got.text, got.finish_reason) == ("い", finish)


async def test_what_a_model_that_continues_texts_does_not_have_is_refused():
    provider = bind(
        endpoint(KEY, "meta.llama3-8b-instruct-v1:0", "llm/v1/completions"),
        ScriptedTransport(served),
    )
    with pytest.raises(UnsupportedParameter, match="stop"):
        await provider.complete({"prompt": "赤", "stop": ["。"]})


HEADERS = st.dictionaries(
    st.sampled_from(["event_type", "content_type", "message_type", "x"]), st.text(max_size=40)
)


@given(
    frames=st.lists(st.tuples(HEADERS, st.binary(max_size=200)), max_size=5),
    cut=st.integers(1, 50),
)
def test_frames_are_read_as_botocore_reads_them_however_they_are_cut(frames, cut):
    raw = b"".join(frame(payload, **headers) for headers, payload in frames)
    theirs = EventStreamBuffer()
    theirs.add_data(raw)
    parser = FrameParser()
    ours = [f for i in range(0, len(raw), cut) for f in parser.feed(raw[i : i + cut])]
    parser.end()
    assert [(dict(f.headers), f.payload) for f in ours] == [
        (message.headers, message.payload) for message in theirs
    ]


def read_whole(raw: bytes) -> list[Frame]:
    parser = FrameParser()
    found = list(parser.feed(raw))
    parser.end()
    return found


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(at, bit):
    raw = bytearray(frame("赤です".encode(), event_type="x", message_type="event"))
    raw[at % len(raw)] ^= 1 << bit
    with pytest.raises(MalformedAnswer):
        read_whole(bytes(raw))


def test_header_values_that_are_no_strings_are_passed_over():
    coded = b"\x01a\x00\x01b\x04\x00\x00\x00\x07\x01c\x06\x00\x02xy\x01d\x07\x00\x01z"
    head = pack(">II", 16 + len(coded), len(coded))
    whole = head + pack(">I", crc32(head)) + coded
    (found,) = FrameParser().feed(whole + pack(">I", crc32(whole)))
    assert dict(found.headers) == {"d": "z"}


def test_our_signature_is_botocores():
    credentials = ReadOnlyCredentials(KEY_ID, SECRET, None)
    request = WireRequest(url="https://x.example/a%3Ab?c=d", body=b"{}", headers={"A": "b"})
    signed = aws_access.sign(request, credentials, service="bedrock", region="us-east-1")
    again = AWSRequest("POST", request.url, {"A": "b"}, b"{}")
    again.context["timestamp"] = signed.headers["X-Amz-Date"]
    signer = SigV4Auth(credentials, "bedrock", "us-east-1")
    again.headers["X-Amz-Date"] = signed.headers["X-Amz-Date"]
    canonical = signer.canonical_request(again)
    signature = signer.signature(signer.string_to_sign(again, canonical), again)
    assert signed.headers["Authorization"].endswith(signature)
