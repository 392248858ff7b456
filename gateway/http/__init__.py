"""The one HTTP client of a process, behind a small seam, and what its failures mean."""

from gateway.http.direct_transport import DirectTransport
from gateway.http.failures import check, failure_of, retry_after
from gateway.http.wire import (
    BODY_CAP,
    Reply,
    ReplyStream,
    Transport,
    WireRequest,
    call,
    streaming,
)

__all__ = [
    "BODY_CAP",
    "DirectTransport",
    "Reply",
    "ReplyStream",
    "Transport",
    "WireRequest",
    "call",
    "check",
    "failure_of",
    "retry_after",
    "streaming",
]
