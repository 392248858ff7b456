"""Asks a provider by kind, and reads what came as a caller would."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any

import msgspec

from gateway.errors import MalformedAnswer, Outcome
from gateway.providers import Provider
from gateway.streams import usage_in
from gateway.types import Answer, Usage
from tests.support.vendors.contract import Call, Kind, Said


async def asked(provider: Provider, kind: Kind, body: Mapping[str, Any]) -> Answer:
    match kind:
        case Kind.CHAT:
            return await provider.chat(body)
        case Kind.COMPLETIONS:
            return await provider.complete(body)
        case Kind.EMBEDDINGS:
            return await provider.embed(body)
        case Kind.RESPONSES:
            return await provider.respond(body)
        case Kind.MESSAGES:
            return await provider.message(body)


def opened(provider: Provider, kind: Kind, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
    match kind:
        case Kind.CHAT:
            return provider.stream_chat(body)
        case Kind.COMPLETIONS:
            return provider.stream_complete(body)
        case Kind.RESPONSES:
            return provider.stream_respond(body)
        case Kind.MESSAGES:
            return provider.stream_message(body)
        case Kind.EMBEDDINGS:
            raise AssertionError("embeddings do not stream")


def said_by(answer: Answer, kind: Kind, expected: Said) -> Said:
    """What an answer says; its raw body and its fields must tell the same."""
    raw = msgspec.json.decode(answer.raw)
    if kind is Kind.EMBEDDINGS:
        vectors = [item["embedding"] for item in raw["data"]]
        assert [item["index"] for item in raw["data"]] == list(range(len(vectors)))
        assert all(item["object"] == "embedding" for item in raw["data"])
        return Said(
            finish_reason=expected.finish_reason,
            usage=answer.usage,
            vectors=vectors,
            model=answer.model,
        )
    if kind in {Kind.RESPONSES, Kind.MESSAGES}:
        return Said(
            text=answer.text,
            finish_reason=answer.finish_reason,
            usage=answer.usage,
            refusal=answer.refusal,
            calls=expected.calls,
            model=answer.model,
        )
    choice = raw["choices"][0]
    if kind is Kind.COMPLETIONS:
        assert choice["text"] == answer.text
    else:
        assert choice["message"]["role"] == "assistant"
        assert (choice["message"]["content"] or "") == answer.text
    assert choice["finish_reason"] == answer.finish_reason
    _same_usage(raw.get("usage"), answer.usage)
    calls = tuple(_call(c) for c in (choice.get("message") or {}).get("tool_calls") or ())
    return Said(
        text=answer.text,
        finish_reason=answer.finish_reason,
        usage=answer.usage,
        refusal=answer.refusal,
        calls=_with_made_up_ids(calls, expected),
        model=answer.model,
    )


def said_in(chunks: Iterable[bytes], kind: Kind, expected: Said) -> Said:
    """What a stream says, put together."""
    chunks = list(chunks)
    events = [msgspec.json.decode(chunk) for chunk in chunks]
    if kind is Kind.RESPONSES:
        return _said_in_events(events, expected)
    if kind is Kind.MESSAGES:
        return _said_in_messages(chunks, expected)
    text, refusal, finish = "", "", None
    usage = Usage()
    calls: dict[int, dict[str, str]] = {}
    for event in events:
        wanted = "chat.completion.chunk" if kind is Kind.CHAT else "text_completion"
        assert event.get("object", wanted) == wanted
        usage = read_usage(event.get("usage")) if event.get("usage") else usage
        for choice in event["choices"]:
            assert choice["index"] == 0
            finish = choice.get("finish_reason") or finish
            delta = choice.get("delta") or {}
            text += choice["text"] if kind is Kind.COMPLETIONS else delta.get("content") or ""
            refusal += delta.get("refusal") or ""
            for piece in delta.get("tool_calls") or ():
                _gather(calls.setdefault(piece["index"], {}), piece)
    put = tuple(
        Call(id=c["id"], name=c["name"], arguments=msgspec.json.decode(c["arguments"] or "{}"))
        for _, c in sorted(calls.items())
    )
    return Said(
        text=text,
        finish_reason=finish,
        usage=usage,
        refusal=refusal or None,
        calls=_with_made_up_ids(put, expected),
    )


def read_usage(usage: Mapping[str, Any] | None) -> Usage:
    """Usage in OpenAI's words."""
    usage = usage or {}
    heard, said = usage.get("prompt_tokens"), usage.get("completion_tokens")
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    if said is not None and thought and usage["total_tokens"] == heard + said + thought:
        said += thought  # Counted beside the completion.
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    return Usage(
        input_tokens=heard,
        output_tokens=said,
        cached_input_tokens=usage.get("prompt_cache_hit_tokens", cached),
        reasoning_tokens=thought,
    )


def check(found: Said, expected: Said) -> None:
    """Compare; the model only when the row names one."""
    assert found.text == expected.text
    assert found.finish_reason == expected.finish_reason
    assert found.usage == expected.usage
    assert found.refusal == expected.refusal
    assert tuple(found.calls) == tuple(expected.calls)
    if expected.vectors is not None:
        assert found.vectors is not None
        assert [list(v) for v in found.vectors] == [list(v) for v in expected.vectors]
    if expected.model is not None:
        assert found.model == expected.model


def outcome_of(said: Said) -> Outcome:
    """What an answer that says this has to count as."""
    refused = said.refusal is not None or said.finish_reason == "content_filter"
    return Outcome.REFUSED if refused else Outcome.OK


def _same_usage(raw: Mapping[str, Any] | None, usage: Usage) -> None:
    """The body that surfaces pass on tells no other numbers than the fields."""
    found = read_usage(raw)
    assert (found.input_tokens, found.output_tokens) == (usage.input_tokens, usage.output_tokens)


def _call(call: Mapping[str, Any]) -> Call:
    assert call["type"] == "function"
    function = call["function"]
    arguments = msgspec.json.decode(function["arguments"])
    return Call(id=call["id"], name=function["name"], arguments=arguments)


def _gather(call: dict[str, str], piece: Mapping[str, Any]) -> None:
    function = piece.get("function") or {}
    call["id"] = piece.get("id") or call.get("id", "")
    call["name"] = call.get("name", "") + (function.get("name") or "")
    call["arguments"] = call.get("arguments", "") + (function.get("arguments") or "")


def _with_made_up_ids(calls: tuple[Call, ...], expected: Said) -> tuple[Call, ...]:
    """Ids that the row leaves open must be there all the same, and differ."""
    assert all(call.id for call in calls)
    assert len({call.id for call in calls}) == len(calls)
    if len(calls) != len(expected.calls):
        return calls
    return tuple(
        Call(id=None, name=c.name, arguments=c.arguments) if e.id is None else c
        for c, e in zip(calls, expected.calls, strict=True)
    )


def _said_in_events(events: list[dict[str, Any]], expected: Said) -> Said:
    text = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    last = events[-1]
    if last["type"] not in {"response.completed", "response.incomplete"}:
        raise MalformedAnswer("no last event")
    usage = last["response"]["usage"]
    return Said(
        text=text,
        finish_reason=expected.finish_reason,
        usage=Usage(
            input_tokens=usage["input_tokens"],
            output_tokens=usage["output_tokens"],
            cached_input_tokens=(usage.get("input_tokens_details") or {}).get("cached_tokens"),
            reasoning_tokens=(usage.get("output_tokens_details") or {}).get("reasoning_tokens"),
        ),
    )


def _said_in_messages(chunks: list[bytes], expected: Said) -> Said:
    """Of Anthropic's events, which arrive as they are; used is what the gateway reads in them."""
    usage = Usage()
    for chunk in chunks:
        usage = usage_in(chunk, usage)
    events = [msgspec.json.decode(chunk) for chunk in chunks]
    if events[-1]["type"] != "message_stop":
        raise MalformedAnswer("no last event")
    deltas = [e["delta"] for e in events if e["type"] == "content_block_delta"]
    return Said(
        text="".join(delta.get("text", "") for delta in deltas),
        finish_reason=expected.finish_reason,
        usage=usage,
    )
