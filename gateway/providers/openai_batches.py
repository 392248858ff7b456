"""OpenAI's Batch API as its client: a file goes up, a batch runs, files come down."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import timedelta

import msgspec
from typing_extensions import override

from gateway.config import Endpoint, habits_of
from gateway.errors import GatewayError
from gateway.http import Transport, WireRequest, call, failure_of, streaming
from gateway.providers import dialect
from gateway.providers.access import access_of
from gateway.providers.batching import (
    MOST_RESULTS,
    BatchAnswer,
    BatchLook,
    VendorBatches,
    lines_of,
    unhurried,
)
from gateway.providers.fitting import fitting
from gateway.types import JSON, JSONObject

MARK = "hikaku"
"""Key of the metadata that holds our mark."""
MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000
"""Of one file."""
_PATH = "/v1/chat/completions"
_OK = 200


class _Fault(msgspec.Struct):
    message: str | None = None


class _Faults(msgspec.Struct):
    data: list[_Fault] = []


class _Batch(msgspec.Struct):
    id: str
    status: str
    metadata: dict[str, str] | None = None
    output_file_id: str | None = None
    error_file_id: str | None = None
    errors: _Faults | None = None


class _Batches(msgspec.Struct):
    data: list[_Batch]


class _File(msgspec.Struct):
    id: str


class _Response(msgspec.Struct):
    status_code: int
    body: msgspec.Raw


class _Line(msgspec.Struct):
    custom_id: str
    response: _Response | None = None


_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


class OpenAIBatches(VendorBatches):
    """Batches of one endpoint of a server that speaks OpenAI's protocol."""

    def __init__(self, endpoint: Endpoint, transport: Transport, *, base_url: str) -> None:
        self._endpoint = endpoint
        self._transport = transport
        self._access = access_of(endpoint, transport, base_url)
        said = endpoint.batch_api
        self.max_requests = min(MOST_REQUESTS, said.max_requests or MOST_REQUESTS)
        self.max_bytes = min(MOST_BYTES, said.max_bytes or MOST_BYTES)
        self._fit = fitting(endpoint, habits_of(endpoint))

    @override
    def line(self, custom_id: str, body: JSONObject) -> bytes:
        fitted: dict[str, JSON] = self._fit({**self._endpoint.params, **body})
        request = {
            "custom_id": custom_id, "method": "POST", "url": _PATH,
            "body": {**fitted, "model": self._access.model},
        }  # fmt: skip
        return msgspec.json.encode(request)

    @override
    async def find(self, mark: str, age: timedelta, count: int) -> list[str]:
        reply = await self._json("GET", "/batches?limit=100")
        found = msgspec.json.decode(reply, type=_Batches).data
        return [batch.id for batch in found if (batch.metadata or {}).get(MARK) == mark]

    @override
    async def submit(self, mark: str, lines: Sequence[bytes]) -> str:
        file = await self._upload(mark, b"\n".join(lines) + b"\n")
        wanted: JSONObject = {
            "input_file_id": file, "endpoint": _PATH, "completion_window": "24h",
            "metadata": {MARK: mark},
        }  # fmt: skip
        return msgspec.json.decode(await self._json("POST", "/batches", wanted), type=_Batch).id

    @override
    async def look(self, batch_id: str) -> BatchLook:
        batch = await self._read(batch_id)
        faults = batch.errors.data if batch.errors else []
        said = "; ".join(fault.message or "" for fault in faults[:3])
        error = (said or "the vendor refused it") if batch.status == "failed" else None
        return BatchLook(ended=batch.status in _ENDED, error=error)

    @override
    async def results(self, batch_id: str) -> AsyncGenerator[BatchAnswer, None]:
        batch = await self._read(batch_id)
        for file in (batch.output_file_id, batch.error_file_id):
            if file is None:
                continue
            request = await self._request("GET", f"/files/{file}/content")
            async with streaming(self._transport, request) as reply:
                async for line in lines_of(reply.chunks):
                    answered = _answered(line)
                    if answered is not None:
                        yield answered

    @override
    async def cancel(self, batch_id: str) -> None:
        await self._json("POST", f"/batches/{batch_id}/cancel", {})

    async def _upload(self, mark: str, content: bytes) -> str:
        edge = f"hikaku-{mark}".encode()
        body = (
            b"--" + edge + b'\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--'
            + edge + b'\r\nContent-Disposition: form-data; name="file"; filename="' + edge
            + b'.jsonl"\r\nContent-Type: application/jsonl\r\n\r\n' + content
            + b"\r\n--" + edge + b"--\r\n"
        )  # fmt: skip
        kind = {"Content-Type": f"multipart/form-data; boundary={edge.decode()}"}
        request = await self._request("POST", "/files", body, kind)
        return msgspec.json.decode((await call(self._transport, request)).body, type=_File).id

    async def _read(self, batch_id: str) -> _Batch:
        return msgspec.json.decode(await self._json("GET", f"/batches/{batch_id}"), type=_Batch)

    async def _json(self, method: str, path: str, body: JSONObject | None = None) -> bytes:
        written = b"" if body is None else msgspec.json.encode(body)
        request = await self._request(method, path, written)
        return (await call(self._transport, request)).body

    async def _request(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> WireRequest:
        access = self._access
        return WireRequest(
            method=method,
            url=access.base_url + path,
            body=body,
            headers={**await access.authorized(), **(headers or {})},
            timeouts=unhurried(self._endpoint.timeouts),
            cap=MOST_RESULTS,
        )


def _answered(raw: bytes) -> BatchAnswer | None:
    """Read a line; None for a request that was not executed."""
    line = msgspec.json.decode(raw, type=_Line)
    if line.response is None:
        return None
    body = bytes(line.response.body)
    if line.response.status_code != _OK:
        error = failure_of(line.response.status_code, {}, body)
        return BatchAnswer(custom_id=line.custom_id, error=error)
    try:
        return BatchAnswer(custom_id=line.custom_id, answer=dialect.chat_answer(body))
    except GatewayError as malformed:
        return BatchAnswer(custom_id=line.custom_id, error=malformed)
