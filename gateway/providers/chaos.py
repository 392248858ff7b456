"""Declared faults: an upstream inside the process that fails as it was told to.

It stands where the network would, so the real adapter and the real parsing meet every fault.
"""

import asyncio
import os
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import GatewayError, TimedOut, Unreachable
from gateway.http import Reply, ReplyStream, Transport, WireRequest
from gateway.providers import dialect, parrot
from gateway.types import JSONObject, Usage

_PIECE = 7
"""Bytes per piece of a stream: seldom a whole event, seldom a whole character."""


class Fault(StrEnum):
    """What can happen to a call, in the order in which the rates are stacked."""

    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    RESET = "reset"
    HANG = "hang"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happens to one call."""

    fault: Fault | None
    latency: float
    """Seconds."""


class ChaosTransport(Transport):
    """Answers OpenAI's protocol by itself, with faults and latency."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._options: dict[str, Any] = dict(endpoint.options)
        self._model = endpoint.model or "chaos"
        self._name = endpoint.name
        self._attempts: defaultdict[bytes, int] = defaultdict(int)
        self._log = _CallLog(self._options.get("log"))
        self.calls = 0
        """Calls that arrived."""

    @override
    async def send(self, request: WireRequest) -> Reply:
        return await self._replied(request, streamed=False)

    @override
    @asynccontextmanager
    async def stream(self, request: WireRequest) -> AsyncIterator[ReplyStream]:
        reply = await self._replied(request, streamed=True)
        yield ReplyStream(status=reply.status, headers=reply.headers, chunks=_pieces(reply.body))

    @override
    async def close(self) -> None:
        pass

    async def _replied(self, request: WireRequest, *, streamed: bool) -> Reply:
        body, key, fate = self._received(request)
        try:
            await self._suffer(fate, request)
            reply = self._answer(body, fate, streamed=streamed)
        except GatewayError as error:
            self._log.write("answer", self._name, key, outcome=type(error).__name__)
            raise
        self._log.write("answer", self._name, key, outcome=str(fate.fault or reply.status))
        return reply

    def _received(self, request: WireRequest) -> tuple[JSONObject, str, Fate]:
        body: dict[str, Any] = msgspec.json.decode(request.body)
        digest = sha256(msgspec.json.encode([body.get("messages"), body.get("prompt")])).digest()
        self._attempts[digest] += 1
        self.calls += 1
        key = digest[:8].hex()
        attempt = self._attempts[digest]
        self._log.write("call", self._name, key, attempt=attempt)
        return body, key, fate(self._options, digest, attempt)

    async def _suffer(self, fate: Fate, request: WireRequest) -> None:
        if fate.fault is Fault.HANG:
            await asyncio.sleep(request.timeouts.total)
            raise TimedOut(f"no complete answer within {request.timeouts.total:g} s")
        await asyncio.sleep(fate.latency)
        if fate.fault is Fault.RESET:
            raise Unreachable("the connection was reset, as chaos declared")

    def _answer(self, body: JSONObject, fate: Fate, *, streamed: bool) -> Reply:
        if fate.fault is Fault.RATE_LIMITED:
            limited = _error("rate limited by chaos", "rate_limit_exceeded")
            return Reply(status=429, headers=self._patience(), body=limited)
        if fate.fault is Fault.SERVER_ERROR:
            broken = _error("server error by chaos", "server_error")
            return Reply(status=500, headers={}, body=broken)
        if fate.fault is Fault.MALFORMED:
            return Reply(status=200, headers={}, body=b"<html>chaos</html>")
        answer = self._streamed(body) if streamed else self._whole(body)
        cut = len(answer) // 2 if fate.fault is Fault.TRUNCATED else len(answer)
        return Reply(status=200, headers={}, body=answer[:cut])

    def _patience(self) -> dict[str, str]:
        seconds = self._options.get("retry_after_s")
        return {"retry-after": str(seconds)} if seconds is not None else {}

    def _whole(self, body: JSONObject) -> bytes:
        if "input" in body:
            texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
            vectors = [parrot.vector(str(text)) for text in texts]
            return dialect.embeddings_body(vectors, usage=Usage(), model=self._model)
        spoken = parrot.speak(body, reply=self._options.get("reply"))
        text, reason, usage = spoken.text, spoken.finish_reason, spoken.usage
        if "prompt" in body:
            return dialect.text_body(text, finish_reason=reason, usage=usage, model=self._model)
        choice = dialect.chat_choice(text, finish_reason=reason)
        return dialect.chat_body([choice], usage=usage, model=self._model)

    def _streamed(self, body: JSONObject) -> bytes:
        spoken = parrot.speak(body, reply=self._options.get("reply"))
        writer = dialect.ChunkWriter(chat="prompt" not in body, model=self._model)
        chunks = [writer.piece(piece) for piece in spoken.pieces]
        chunks.append(writer.piece(None, finish_reason=spoken.finish_reason))
        if parrot.wants_usage(body):
            chunks.append(writer.usage(spoken.usage))
        return b"".join(b"data: " + chunk + b"\n\n" for chunk in [*chunks, b"[DONE]"])


def fate(options: JSONObject, prompt: bytes, attempt: int) -> Fate:
    """What happens to a call: a pure function of seed, prompt and attempt.

    Args:
        options: `ChaosSettings`, dumped.
        prompt: Any digest of the prompt.
        attempt: From 1, of this prompt in this process.
    """
    settings: dict[str, Any] = dict(options)
    seed = f"{settings.get('seed', 0)}:{prompt.hex()}:{attempt}"
    chance = random.Random(seed)  # noqa: S311 - faults are drawn, not secrets
    draw, floor = chance.random(), 0.0
    latency: dict[str, float] = settings.get("latency") or {}
    median, sigma = latency.get("median_ms", 0.0) / 1000, latency.get("sigma", 0.0)
    seconds = median * chance.lognormvariate(0.0, sigma) if median and sigma else median
    rates: dict[str, float] = settings.get("rates") or {}
    for fault in Fault:
        floor += rates.get(fault, 0.0)
        if draw < floor:
            return Fate(fault=fault, latency=seconds)
    return Fate(fault=None, latency=seconds)


class _CallLog:
    """Lines appended with one write each, so that many processes can share the file."""

    def __init__(self, path: object) -> None:
        self._path = path if isinstance(path, str) else None

    def write(self, event: str, endpoint: str, prompt: str, **more: object) -> None:
        if self._path is None:
            return
        line = {
            "event": event, "at": time.time(), "pid": os.getpid(), "endpoint": endpoint,
            "prompt": prompt, **more,
        }  # fmt: skip
        # Opened anew each time: a provider has no end at which an open file could be closed.
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, msgspec.json.encode(line) + b"\n")
        finally:
            os.close(file)


async def _pieces(answer: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(answer), _PIECE):
        yield answer[start : start + _PIECE]


def _error(message: str, code: str) -> bytes:
    return msgspec.json.encode({"error": {"message": message, "type": code, "code": code}})
