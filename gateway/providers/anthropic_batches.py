"""Anthropic's Message Batches, from the side of their client."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime, timedelta

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import GatewayError
from gateway.http import Transport, WireRequest, call, streaming
from gateway.providers.anthropic import OwnDoor, batch_params, failure_inside
from gateway.providers.anthropic_answers import read_message
from gateway.providers.batching import BatchAnswer, BatchLook, VendorBatches, lines_of
from gateway.types import JSONObject

_SKEW = timedelta(seconds=30)
"""Between the vendor's clock and ours."""


class _Batch(msgspec.Struct):
    id: str
    processing_status: str
    created_at: datetime
    request_counts: dict[str, int] = {}


class _Batches(msgspec.Struct):
    data: list[_Batch]


class _Error(msgspec.Struct):
    type: str = "api_error"


class _Result(msgspec.Struct):
    type: str
    message: msgspec.Raw = msgspec.Raw(b"{}")
    error: msgspec.Raw = msgspec.Raw(b"{}")


class _Envelope(msgspec.Struct):
    error: _Error = msgspec.field(default_factory=_Error)


class _Line(msgspec.Struct):
    custom_id: str
    result: _Result


class AnthropicBatches(VendorBatches):
    """Batches of one endpoint at Anthropic's own API.

    They bear no metadata: a batch that was handed over and not noted is known by its time and
    its size, and for sure by the ids in its results.
    """

    max_requests = 100_000
    max_bytes = 256_000_000

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._url = base_url + "/messages/batches"
        self._headers = OwnDoor(endpoint, base_url=base_url).headers

    @override
    def line(self, custom_id: str, body: JSONObject) -> bytes:
        params = batch_params(self._endpoint, {**self._endpoint.params, **body})
        return msgspec.json.encode({"custom_id": custom_id, "params": params})

    @override
    async def find(self, mark: str, since: datetime, count: int) -> list[str]:
        found = msgspec.json.decode(await self._call("GET", "?limit=100"), type=_Batches).data
        likely = [
            batch
            for batch in found
            if batch.created_at >= since - _SKEW and sum(batch.request_counts.values()) == count
        ]
        return [batch.id for batch in sorted(likely, key=lambda batch: batch.created_at)]

    @override
    async def submit(self, mark: str, lines: Sequence[bytes]) -> str:
        body = b'{"requests":[' + b",".join(lines) + b"]}"
        return msgspec.json.decode(await self._call("POST", "", body), type=_Batch).id

    @override
    async def look(self, batch_id: str) -> BatchLook:
        batch = msgspec.json.decode(await self._call("GET", f"/{batch_id}"), type=_Batch)
        return BatchLook(ended=batch.processing_status == "ended")

    @override
    async def results(self, batch_id: str) -> AsyncGenerator[BatchAnswer, None]:
        # Not at the `results_url` of the answer: our key goes to no address but the configured one.
        request = self._request("GET", f"/{batch_id}/results")
        async with streaming(self._transport, request) as reply:
            async for line in lines_of(reply.chunks):
                answered = _answered(line)
                if answered is not None:
                    yield answered

    @override
    async def cancel(self, batch_id: str) -> None:
        await self._call("POST", f"/{batch_id}/cancel", b"{}")

    async def _call(self, method: str, path: str, body: bytes = b"") -> bytes:
        return (await call(self._transport, self._request(method, path, body))).body

    def _request(self, method: str, path: str, body: bytes = b"") -> WireRequest:
        return WireRequest(
            method=method,
            url=self._url + path,
            body=body,
            headers=self._headers,
            timeouts=self._endpoint.timeouts,
        )


def _answered(raw: bytes) -> BatchAnswer | None:
    """Read a line; None for a request that expired or was cancelled."""
    line = msgspec.json.decode(raw, type=_Line)
    match line.result.type:
        case "succeeded":
            try:
                answer = read_message(bytes(line.result.message))
            except GatewayError as malformed:
                return BatchAnswer(custom_id=line.custom_id, error=malformed)
            return BatchAnswer(custom_id=line.custom_id, answer=answer)
        case "errored":
            said = bytes(line.result.error)
            kind = msgspec.json.decode(said, type=_Envelope).error.type
            return BatchAnswer(custom_id=line.custom_id, error=failure_inside(kind, said))
        case _:
            return None
