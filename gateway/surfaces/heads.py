"""A limit for the head of a request: the server beneath collects headers of any length."""

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_CAP = 64 * 1024
"""Bytes; keys, cookies and the headers of proxies fit many times."""
_WORDS = b'{"detail":"the head of the request is longer than 65536 bytes"}'
_REFUSAL = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(_WORDS), _WORDS)
)


class CappedHeads(HttpToolsProtocol):
    """uvicorn's protocol, which hangs up on a head that does not end."""

    _awaited = False
    """Whether a head has begun and not ended."""
    _length = 0

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._awaited:
            return
        self._length += len(data)
        if self._length > HEAD_CAP:
            self._awaited = False
            if not self.transport.is_closing():
                self.transport.write(_REFUSAL)
                self.transport.close()

    @override
    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._awaited, self._length = True, 0

    @override
    def on_headers_complete(self) -> None:
        self._awaited = False
        super().on_headers_complete()
