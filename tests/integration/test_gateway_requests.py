"""Requests that are too large for a gateway are refused before they fill its memory."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.support.gateway_server import serving

CONFIG = "endpoints: [{name: chat, endpoint_type: llm/v1/chat, model: {provider: echo}}]"
START = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    file = tmp_path_factory.mktemp("requests") / "gateway.yaml"
    file.write_text(CONFIG, encoding="utf-8")
    with serving(file) as url:
        parts = urlsplit(url)
        yield parts.hostname, parts.port


def answer_to(address, *pieces: bytes) -> bytes:
    """What comes back, if only the beginning of it."""
    with socket.create_connection(address, timeout=20) as line:
        try:
            for piece in pieces:
                line.sendall(piece)
        except OSError:
            pass  # It hung up on us, and may have said why before.
        return line.recv(4096)


def test_a_head_that_does_not_end_is_cut_off(address):
    answer = answer_to(address, START, b"X-Long: ", *[b"a" * 65_536] * 3)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_many_headers_that_do_not_end_are_cut_off(address):
    answer = answer_to(address, START, *[b"X-One: more\r\n" * 1_000] * 12)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_body_that_is_announced_too_long_is_refused_before_it_is_sent(address):
    answer = answer_to(address, START + b"Content-Length: 33554433\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_usual_head_is_not_too_long(address):
    asked = b'{"model":"chat","messages":[{"role":"user","content":"x"}]}'
    head = START + b"X-Long: " + b"a" * 30_000 + b"\r\nContent-Length: %d\r\n\r\n" % len(asked)
    assert answer_to(address, head + asked).startswith(b"HTTP/1.1 200 ")
