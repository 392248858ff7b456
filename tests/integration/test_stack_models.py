"""The model server with a real model, asked by huggingface_hub's own client and by hand."""

import asyncio
import contextlib
import socket
import threading
import time

import httpx2
import pytest
import uvicorn
from huggingface_hub import AsyncInferenceClient
from huggingface_hub.errors import OverloadedError, ValidationError

from stack.errors import StackError
from stack.models.fetch import default_cache, fetch
from stack.models.registry import SMOLLM2, LocalFile, Model
from stack.models.server import create_app

pytest.importorskip("xllamacpp")

MISSING = Model(
    id="missing",
    title="Nowhere to be had",
    file_name="missing.gguf",
    sha256="0" * 64,
    size_bytes=1,
    licence="Apache-2.0",
    context_tokens=64,
    sources=(LocalFile(variable="HIKAKU_NO_SUCH_FOLDER"),),
)
USER = {"role": "user", "content": "りんごは何色ですか?"}


@contextlib.contextmanager
def serving(app):
    """The application on a loopback port, in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def base():
    try:
        fetch(SMOLLM2, default_cache())
    except StackError as error:
        pytest.skip(f"no weights here: {error}")
    with serving(create_app([SMOLLM2, MISSING], default_cache(), slots=2, admitted=4)) as url:
        yield url


@pytest.fixture
def url(base):
    return f"{base}/{SMOLLM2.id}"


@pytest.fixture
async def client(url):
    async with AsyncInferenceClient(model=url) as client:
        yield client


@pytest.fixture
async def http(url):
    async with httpx2.AsyncClient(base_url=url, timeout=240) as client:
        yield client


async def test_chat(client):
    answer = await client.chat_completion([USER], max_tokens=4, temperature=0)
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 4


async def test_chat_in_a_stream_says_the_same_and_reports_its_usage(client):
    whole = await client.chat_completion([USER], max_tokens=6, temperature=0)
    stream = await client.chat_completion(
        [USER], max_tokens=6, temperature=0, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "length"
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens


async def test_generation_with_details(client):
    answer = await client.text_generation(
        "The capital of France is", max_new_tokens=3, details=True, top_n_tokens=2
    )
    assert answer.details.generated_tokens == 3
    assert answer.generated_text == "".join(token.text for token in answer.details.tokens)
    assert all(token.logprob < 0 for token in answer.details.tokens)
    assert [len(top) for top in answer.details.top_tokens] == [2, 2, 2]


async def test_generation_in_a_stream_ends_with_the_text_and_how_it_ended(client):
    stream = await client.text_generation(
        "Count: 1 2 3", max_new_tokens=30, stop=["5"], details=True, stream=True
    )
    events = [event async for event in stream]
    assert [event.index for event in events] == list(range(1, len(events) + 1))
    assert [event.generated_text for event in events[:-1]] == [None] * (len(events) - 1)
    assert events[-1].generated_text == "".join(e.token.text for e in events if not e.token.special)
    assert events[-1].generated_text.endswith("5")
    assert events[-1].details.finish_reason == "stop_sequence"


async def test_the_same_seed_gives_the_same_text(client):
    def ask(seed):
        return client.text_generation("Once", max_new_tokens=8, temperature=1.5, seed=seed)

    assert await ask(7) == await ask(7)


async def test_a_request_too_long_is_refused_in_both_ways(client):
    with pytest.raises(ValidationError, match="must be <= 2048"):
        await client.text_generation("x", max_new_tokens=100_000)
    stream = await client.text_generation("x", max_new_tokens=100_000, stream=True)
    with pytest.raises(ValidationError, match="must be <= 2048"):
        _ = [event async for event in stream]


async def test_a_json_schema_is_kept_to(client):
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    text = await client.text_generation(
        "JSON:", max_new_tokens=20, grammar={"type": "json", "value": schema}
    )
    assert "".join(text.split()) in {'{"a":true}', '{"a":false}'}


async def test_one_request_more_than_admitted_is_refused_at_once(client, http):
    async def ask():
        return await client.text_generation("Once upon a time", max_new_tokens=24)

    done = await asyncio.gather(*(ask() for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(one, str) for one in done) == 4
    assert sum(isinstance(one, OverloadedError) for one in done) == 2
    refused = [
        http.post("/v1/chat/completions", json={"messages": [USER], "max_tokens": 24})
        for _ in range(5)
    ]
    answers = await asyncio.gather(*refused)
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429]


async def test_a_client_that_leaves_stops_the_computing(http):
    endless = {"inputs": "Once", "parameters": {"max_new_tokens": 1500}}
    with pytest.raises(httpx2.ReadTimeout):
        await http.post("/generate", json=endless, timeout=0.5)
    async with http.stream("POST", "/generate_stream", json=endless) as answer:
        async for _ in answer.aiter_lines():
            break
    async with asyncio.timeout(5):
        while "tgi_batch_current_size 0\n" not in (await http.get("/metrics")).text:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_measurements_are_in_the_headers(http):
    answer = await http.post(
        "/generate", json={"inputs": "Hi", "parameters": {"max_new_tokens": 2}}
    )
    assert answer.headers["x-generated-tokens"] == "2"
    for name in ("total", "validation", "queue", "inference"):
        assert answer.headers[f"x-{name}-time"].isdigit()
    assert float(answer.headers["x-compute-time"]) > 0


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"{}", "application/json", 422),
        (b'{"inputs":"x","parameters":null}', "application/json", 422),
        (b" " * 2_000_001, "application/json", 413),
    ],
)
async def test_what_is_no_request_is_refused_in_plain_text(http, content, kind, status):
    answer = await http.post("/generate", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/plain")


async def test_the_compatible_route_answers_with_a_list(http):
    answer = await http.post("/", json={"inputs": "Hi", "parameters": {"max_new_tokens": 1}})
    assert [set(one) for one in answer.json()] == [{"generated_text"}]


async def test_tokens_span_the_bytes_of_the_text(http):
    spans = (await http.post("/tokenize", json={"inputs": "赤 red"})).json()
    assert spans[0]["start"] == 0
    assert spans[-1]["stop"] == len("赤 red".encode())


async def test_what_is_served_is_told(http):
    told = (await http.get("/info")).json()
    assert (told["model_id"], told["max_concurrent_requests"]) == (SMOLLM2.id, 4)
    assert (await http.get("/health")).content == b""


async def test_a_model_without_weights_says_so_and_disturbs_no_other(base, http):
    async with httpx2.AsyncClient(base_url=f"{base}/missing") as missing:
        answer = await missing.get("/health")
        for _ in range(100):
            if "missing" in answer.json()["error"]:
                break
            await asyncio.sleep(0.05)
            answer = await missing.get("/health")
        asked = await missing.post("/generate", json={"inputs": "x", "parameters": {}})
    for refusal in (answer, asked):
        assert refusal.status_code == 503
        assert "HIKAKU_NO_SUCH_FOLDER is not set" in refusal.json()["error"]
    assert (await http.get("/health")).status_code == 200


async def test_an_unknown_model_is_not_found(base):
    async with httpx2.AsyncClient(base_url=base) as http:
        assert (await http.get("/nothing/info")).status_code == 404
