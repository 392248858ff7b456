"""A vendor with both batch APIs, OpenAI's and Anthropic's, whose moods can be set.

It says every prompt back. What it was asked and what it has sold, it remembers by itself.
"""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from typing_extensions import override


@dataclass
class Sold:
    """One batch at the vendor."""

    id: str
    requests: list[tuple[str, str]]
    """Custom id and prompt."""
    metadata: dict[str, str]
    began: float
    created_at: datetime
    """By the vendor's clock."""
    cancelled: bool = False


@dataclass
class BatchVendor:
    url: str = ""
    takes: float = 0.5
    """Seconds until a batch ends."""
    stuck: bool = False
    """Whether no batch ever ends, not even a cancelled one."""
    expired: str = r"$^"
    """Prompts whose requests expire."""
    refused: str = r"$^"
    broken: str = r"$^"
    batches: dict[str, Sold] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    failing: int | None = None
    """Which batch, from 0, fails as a whole: one of OpenAI's is refused, the other expires."""
    padding: int = 0
    """Characters behind each answer of a batch."""
    slow: float = 0.0
    """Seconds until an online answer."""
    ahead: timedelta = timedelta(0)
    """By how much its clock is wrong."""
    online: Counter[str] = field(default_factory=Counter)
    """Prompts that were asked one by one."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def open_anew(self) -> None:
        """Forget all customers and be in a good mood."""
        self.takes, self.stuck, self.ahead = 0.5, False, timedelta(0)
        self.failing, self.padding, self.slow = None, 0, 0.0
        self.expired = self.refused = self.broken = r"$^"
        self.batches.clear()
        self.online.clear()

    def begin(self, requests: list[tuple[str, str]], metadata: dict[str, str]) -> Sold:
        with self.lock:
            now = datetime.now(UTC) + self.ahead
            batch = Sold(f"batch_{uuid4().hex}", requests, metadata, time.monotonic(), now)
            self.batches[batch.id] = batch
        return batch

    def has_ended(self, batch: Sold) -> bool:
        if self.stuck:
            return False
        return batch.cancelled or time.monotonic() - batch.began >= self.takes

    def fails(self, batch: Sold) -> bool:
        return self.failing is not None and list(self.batches).index(batch.id) == self.failing

    def sold(self) -> Counter[str]:
        """Prompts that batches were asked."""
        return Counter(prompt for b in self.batches.values() for _, prompt in b.requests)

    def fate(self, prompt: str) -> str:
        for name in ("expired", "refused", "broken"):
            if re.search(getattr(self, name), prompt):
                return name
        return "ok"


def _prompt(body: dict[str, Any]) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def _openai(prompt: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": prompt},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20},
    }


def _anthropic(prompt: str) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": prompt}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 10},
    }


def _openai_lines(vendor: BatchVendor, batch: Sold) -> tuple[list[Any], list[Any]]:
    answers, errors = [], []
    for custom_id, prompt in batch.requests:
        line: dict[str, Any] = {"id": "batch_req_1", "custom_id": custom_id, "error": None}
        match vendor.fate(prompt):
            case "ok":
                body = _openai(prompt + "。" * vendor.padding)
                answers.append(line | {"response": {"status_code": 200, "body": body}})
            case "expired":
                error = {"code": "batch_expired", "message": "too late"}
                errors.append(line | {"response": None, "error": error})
            case fate:
                status = 400 if fate == "refused" else 500
                told = {"error": {"message": fate, "type": "invalid_request_error", "code": fate}}
                errors.append(line | {"response": {"status_code": status, "body": told}})
    return answers, errors


def _anthropic_line(
    vendor: BatchVendor, custom_id: str, prompt: str, fate: str | None
) -> dict[str, Any]:
    match fate or vendor.fate(prompt):
        case "ok":
            message = _anthropic(prompt + "。" * vendor.padding)
            result: dict[str, Any] = {"type": "succeeded", "message": message}
        case "expired":
            result = {"type": "expired"}
        case fate:
            kind = "invalid_request_error" if fate == "refused" else "api_error"
            error = {"type": "error", "error": {"type": kind, "message": fate}}
            result = {"type": "errored", "error": error}
    return {"custom_id": custom_id, "result": result}


def _handler(vendor: BatchVendor) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - two APIs
    def openai_batch(batch: Sold) -> dict[str, Any]:
        ended = vendor.has_ended(batch)
        status = ("cancelled" if batch.cancelled else "completed") if ended else "in_progress"
        shown = {"id": batch.id, "object": "batch", "status": status, "metadata": batch.metadata}
        if vendor.fails(batch):
            return shown | {"status": "failed", "errors": {"data": [{"message": "no such luck"}]}}
        if ended:
            shown |= {"output_file_id": f"o-{batch.id}", "error_file_id": f"e-{batch.id}"}
        return shown

    def anthropic_batch(batch: Sold) -> dict[str, Any]:
        ended = vendor.has_ended(batch)
        count = "succeeded" if ended else "processing"
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "created_at": batch.created_at.isoformat(),
            "request_counts": {count: len(batch.requests)},
        }

    def post(path: str, raw: bytes) -> Any:
        if path == "/v1/files":
            content = raw.split(b"\r\n\r\n", 2)[2].rsplit(b"\r\n--", 1)[0]
            file_id = f"file-{uuid4().hex}"
            vendor.files[file_id] = content
            return {"id": file_id}
        body = json.loads(raw or b"{}")
        match path.removeprefix("/v1/").split("/"):
            case ["chat", "completions"]:
                vendor.online[_prompt(body)] += 1
                time.sleep(vendor.slow)
                return _openai(_prompt(body))
            case ["messages"]:
                vendor.online[_prompt(body)] += 1
                time.sleep(vendor.slow)
                return _anthropic(_prompt(body))
            case ["batches"]:
                lines = vendor.files[body["input_file_id"]].decode().splitlines()
                parsed = [json.loads(line) for line in lines]
                asked = [(line["custom_id"], _prompt(line["body"])) for line in parsed]
                return openai_batch(vendor.begin(asked, body["metadata"]))
            case ["messages", "batches"]:
                asked = [(one["custom_id"], _prompt(one["params"])) for one in body["requests"]]
                return anthropic_batch(vendor.begin(asked, {}))
            case [*_, batch_id, "cancel"]:
                vendor.batches[batch_id].cancelled = True
                return openai_batch(vendor.batches[batch_id])
            case _:
                raise AssertionError(path)

    def get(path: str) -> Any:
        match path.removeprefix("/v1/").partition("?")[0].split("/"):
            case ["batches"]:
                return {"data": [openai_batch(b) for b in reversed(list(vendor.batches.values()))]}
            case ["messages", "batches"]:
                found = reversed(list(vendor.batches.values()))
                return {"data": [anthropic_batch(b) for b in found]}
            case ["batches", batch_id]:
                return openai_batch(vendor.batches[batch_id])
            case ["messages", "batches", batch_id]:
                return anthropic_batch(vendor.batches[batch_id])
            case ["files", file_id, "content"]:
                kind, _, batch_id = file_id.partition("-")
                lines = _openai_lines(vendor, vendor.batches[batch_id])
                return lines[kind == "e"]
            case ["messages", "batches", batch_id, "results"]:
                batch = vendor.batches[batch_id]
                fate = "expired" if vendor.fails(batch) else None
                return [_anthropic_line(vendor, *one, fate) for one in reversed(batch.requests)]
            case _:
                raise AssertionError(path)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _send(self, found: Any) -> None:
            lines = found if isinstance(found, list) else [found]
            body = b"".join(json.dumps(line, ensure_ascii=False).encode() + b"\n" for line in lines)
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self._send(post(self.path, self.rfile.read(int(self.headers["content-length"] or 0))))

        def do_GET(self) -> None:
            self._send(get(self.path))

        @override
        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + vendor.ahead.total_seconds())

        @override
        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def batch_vendor() -> Iterator[BatchVendor]:
    vendor = BatchVendor()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(vendor))
    server.daemon_threads = True
    vendor.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield vendor
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
