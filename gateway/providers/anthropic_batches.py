"""Anthropic's Message Batches, from the side of their client."""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from typing_extensions import override

from gateway.config import Endpoint
from gateway.errors import GatewayError
from gateway.http import Transport, WireRequest, call, streaming
from gateway.http.told import sent_at
from gateway.providers.anthropic import OwnDoor, batch_params, failure_inside
from gateway.providers.anthropic_answers import read_message
from gateway.providers.batching import (
    MOST_RESULTS,
    BatchAnswer,
    BatchLook,
    VendorBatches,
    lines_of,
    unhurried,
)
from gateway.types import JSONObject

MOST_REQUESTS, MOST_BYTES = 100_000, 256_000_000
"""Of one batch."""
_SLACK = timedelta(seconds=30)
"""Between the moments that we and the vendor note for the same thing."""


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

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._endpoint = endpoint
        self._transport = transport
        said = endpoint.batch_api
        self.max_requests = min(MOST_REQUESTS, said.max_requests or MOST_REQUESTS)
        self.max_bytes = min(MOST_BYTES, said.max_bytes or MOST_BYTES)
        self._url = base_url + "/messages/batches"
        self._headers = OwnDoor(endpoint, base_url=base_url).headers

    @override
    def line(self, custom_id: str, body: JSONObject) -> bytes:
        params = batch_params(self._endpoint, {**self._endpoint.params, **body})
        return msgspec.json.encode({"custom_id": custom_id, "params": params})

    @override
    async def find(self, mark: str, age: timedelta, count: int) -> list[str]:
        reply = await call(self._transport, self._request("GET", "?limit=100"))
        found = msgspec.json.decode(reply.body, type=_Batches).data
        # By the vendor's own clock: ours may be wrong, and nothing is to be bought twice for that.
        since = datetime.fromtimestamp(sent_at(reply.headers), UTC) - age
        likely = [
            batch
            for batch in found
            if batch.created_at >= since - _SLACK and sum(batch.request_counts.values()) == count
        ]
        nearest = sorted(likely, key=lambda batch: abs(batch.created_at - since))
        return [batch.id for batch in nearest]

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
            timeouts=unhurried(self._endpoint.timeouts),
            cap=MOST_RESULTS,
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
