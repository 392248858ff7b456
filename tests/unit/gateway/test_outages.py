"""Who asks an endpoint hears its name and what is wrong, and not where its server stands."""

import asyncio
import errno
import logging
import socket
import ssl
from typing import Any

import aiohttp
import pytest

from gateway.client import Gateway
from gateway.errors import EndpointUnavailable, GatewayError, TimedOut, Unreachable
from gateway.http import DirectTransport, Transport, WireRequest
from gateway.http.aiohttp_transport import AiohttpTransport
from gateway.http.unreached import words_for
from gateway.outages import EVERY, Outages
from tests.support.gateway_server import free_port
from tests.support.gateway_wire import ScriptedTransport, catalog

_LOOK_UP = socket.getaddrinfo
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "x"}]}
CONFIG = """endpoints:
  - name: inside
    endpoint_type: llm/v1/chat
    passthrough: true
    model: {{provider: vllm, name: m, config: {{api_base: "{url}"}}}}
    retry: {{max_attempts: 1}}
    timeouts: {{connect: 60, total: 60}}
"""


class Wrapped(OSError):
    """As aiohttp wraps one."""

    def __init__(self, os_error: OSError) -> None:
        super().__init__("Cannot connect to host tgi-7.corp:8080")
        self.os_error = os_error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.5', 80)"),
         "the connection was refused"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] -"),
         "the connection was refused"),
        (Wrapped(ConnectionResetError(errno.ECONNRESET, "reset")), "the connection was reset"),
        (socket.gaierror(-2, "Name or service not known"), "its name is not found"),
        (ssl.SSLCertVerificationError(1, "not valid for 'tgi-7.corp'"),
         "its certificate is not accepted"),
        (ssl.SSLError(1, "wrong version number"), "no TLS connection could be made"),
        (OSError(errno.EMFILE, "Too many open files"), "this process has too many open files"),
        (aiohttp.ClientConnectionError("tgi-7.corp"), "no connection could be made, or it broke"),
    ],
)  # fmt: skip
def test_a_kind_of_failure_has_words_without_an_address(error, words):
    assert words_for(error) == words
    outer = RuntimeError("wrapped")
    outer.__cause__ = error
    assert words_for(outer) == words


def _looked_up(host: str, *rest: Any, **more: Any) -> Any:
    """As the machine does, without asking a network for who is nobody."""
    if host == "nobody.invalid":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return _LOOK_UP(host, *rest, **more)


async def closing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("transport", [DirectTransport, AiohttpTransport])
@pytest.mark.parametrize("what", ["refused", "unknown", "tls", "closed"])
async def test_the_caller_hears_the_endpoint_and_the_log_has_the_host(
    transport, what, caplog, monkeypatch
):
    monkeypatch.setattr(socket, "getaddrinfo", _looked_up)
    server = await asyncio.start_server(closing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1] if what != "refused" else free_port()
    host = "nobody.invalid" if what == "unknown" else f"127.0.0.1:{port}"
    url = f"{'https' if what == 'tls' else 'http'}://{host}/secret-path/v1"
    given: Transport = transport()
    async with server, Gateway(catalog(CONFIG.format(url=url)), given) as gateway:
        with pytest.raises(Unreachable) as caught:
            await gateway.chat("inside", BODY)
        with pytest.raises(Unreachable) as streamed:
            [_ async for _ in gateway.stream_chat("inside", BODY)]
    await given.close()
    for error in (caught.value, streamed.value):
        assert error.message.startswith("the endpoint `inside` cannot be reached: ")
        assert str(error) == error.message
        assert not any(word in error.message for word in ("127.0.0.1", "nobody", "secret", "Errno"))
    (line,) = [r.getMessage() for r in caplog.records if r.name == "gateway.outages"]
    assert line.startswith(f"inside: {host}: ")
    assert "secret-path" not in line


async def test_a_timeout_names_the_endpoint_too():
    transport = ScriptedTransport(lambda _: TimedOut("no connection within 5 s"))
    async with Gateway(catalog(CONFIG.format(url="http://tgi-7.corp/v1")), transport) as gateway:
        with pytest.raises(TimedOut) as caught:
            await gateway.chat("inside", BODY)
    assert caught.value.message == "the endpoint `inside`: no connection within 5 s"


async def test_a_breaker_does_not_tell_either():
    def refused(_: WireRequest) -> GatewayError:
        return Unreachable("the connection was refused", detail="('10.0.0.5', 80)")

    text = CONFIG.format(url="http://10.0.0.5:80/v1") + "    breaker: {failures: 1}\n"
    async with Gateway(catalog(text), ScriptedTransport(refused)) as gateway:
        messages = []
        for _ in range(2):
            with pytest.raises(GatewayError) as caught:
                await gateway.chat("inside", BODY)
            messages.append(caught.value.message)
    assert "left alone" in messages[1]
    assert not any("10.0.0.5" in message for message in messages)


def test_many_failures_are_one_line_and_a_password_in_an_address_is_none(caplog):
    caplog.set_level(logging.WARNING)
    now = [0.0]
    outages = Outages(lambda: now[0])
    for _ in range(100):
        outages.tell(
            Unreachable("it was refused", detail="why"), "a", "http://me:pass@tgi:1/v1?k=s"
        )
    outages.tell(Unreachable("it was refused"), "b", None)
    now[0] = EVERY
    outages.tell(Unreachable("it was refused"), "a", "http://me:pass@tgi:1/v1")
    assert [record.getMessage() for record in caplog.records] == [
        "a: tgi:1: it was refused [why]",
        "b: the vendor's address: it was refused",
        "a: tgi:1: it was refused (and 99 times more since it was last told)",
    ]


def test_what_a_vendor_worded_stays_and_what_failed_behind_it_is_logged(caplog):
    outages = Outages()
    error = TimedOut("the model was too slow", status=504)
    outages.tell(error, "a", "http://tgi:1")
    assert (error.message, caplog.records) == ("the model was too slow", [])
    token = EndpointUnavailable("Google gives no token: the connection was refused")
    token.__cause__ = Unreachable("the connection was refused", detail="('10.0.0.5', 443)")
    outages.tell(token, "a", None)
    assert "10.0.0.5" not in token.message
    assert "10.0.0.5" in caplog.records[0].getMessage()
