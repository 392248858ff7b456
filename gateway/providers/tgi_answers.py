"""TGI's answers and chunks, as huggingface_hub parsed them, in OpenAI's dialect."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, cast

import msgspec

from gateway.providers import dialect
from gateway.providers.stops import StopTrimmer, without_stop

_TIMINGS = {
    "x-total-time": "total",
    "x-validation-time": "validation",
    "x-queue-time": "queue",
    "x-inference-time": "inference",
    "x-time-per-token": "time_per_token",
}
"""Headers, all in whole milliseconds."""


def chat_body(output: object, stops: Sequence[str]) -> bytes:
    """A whole chat completion."""
    body = dataclasses.asdict(cast("Any", output))
    for choice in body["choices"]:
        message = choice["message"]
        if choice["finish_reason"] == "stop_sequence" and isinstance(message["content"], str):
            message["content"] = without_stop(message["content"], stops)
        calls = message.get("tool_calls")
        message["tool_calls"] = [_call(c, i) for i, c in enumerate(calls)] if calls else None
        choice["finish_reason"] = _finish(choice["finish_reason"], called=bool(calls))
    return msgspec.json.encode({"object": "chat.completion"} | body)


class ChunkTranslator:
    """The chunks of one chat stream, one after the other."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._trimmer = StopTrimmer(stops)
        self._ids: dict[int, str] = {}
        self.finished = False
        """Whether a chunk said that it was the last."""

    def chunk(self, chunk: object) -> bytes:
        """The next one."""
        body = dataclasses.asdict(cast("Any", chunk))
        for choice in body["choices"]:
            self._translate(choice)
        return msgspec.json.encode({"object": "chat.completion.chunk"} | body)

    def _translate(self, choice: dict[str, Any]) -> None:
        delta, reason = choice["delta"], choice["finish_reason"]
        if isinstance(delta["content"], str):
            delta["content"] = self._trimmer.feed(delta["content"])
        if calls := delta.get("tool_calls"):
            listed = [calls] if isinstance(calls, Mapping) else calls
            delta["tool_calls"] = [self._piece(call) for call in listed]
        if reason is not None:
            self.finished = True
            rest = self._trimmer.end(stopped=reason == "stop_sequence")
            delta["content"] = (delta["content"] or "") + rest if rest else delta["content"]
            choice["finish_reason"] = _finish(reason, called=bool(self._ids))

    def _piece(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """A piece of a call; its id, which TGI leaves empty, comes with the first one."""
        index, function = call["index"], dict(call["function"])
        function["arguments"] = _text(function.get("arguments") or "")
        if index in self._ids:
            return {"index": index, "function": function}
        self._ids[index] = call.get("id") or dialect.made_up_call_id()
        return {
            "index": index, "id": self._ids[index], "type": "function", "function": function,
        }  # fmt: skip


def timings(headers: Mapping[str, str]) -> dict[str, timedelta]:
    """What the server says of how long each part took."""
    return dict(_timings(headers))


def counted(headers: Mapping[str, str], name: str) -> int | None:
    """A number of tokens that only a header tells."""
    count = headers.get(name, "")
    return int(count) if count.isdecimal() else None


def _timings(headers: Mapping[str, str]) -> Iterator[tuple[str, timedelta]]:
    for header, name in _TIMINGS.items():
        if (milliseconds := counted(headers, header)) is not None:
            yield name, timedelta(milliseconds=milliseconds)


def _finish(reason: str | None, *, called: bool) -> str | None:
    """TGI ends a tool call as it ends any text."""
    word = dialect.finish_word(reason)
    return "tool_calls" if called and word == "stop" else word


def _call(call: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Ids are `0` for every call of some versions, and arguments an object of others."""
    given = call.get("id")
    call_id = given if index == 0 and given else f"{given}-{index}" if given else None
    function = call["function"]
    return {
        "id": call_id or dialect.made_up_call_id(),
        "type": "function",
        "function": {"name": function["name"], "arguments": _text(function["arguments"])},
    }


def _text(arguments: object) -> str:
    if isinstance(arguments, str):
        return arguments
    return msgspec.json.encode(arguments).decode("utf-8")
