"""What a signature was made over has to arrive as it was: on a real socket, byte for byte."""

import asyncio

from gateway.config import parse
from gateway.http import DirectTransport
from gateway.providers import bind
from gateway.types import JSONObject
from tests.support.sigv4 import signature_holds
from tests.support.vendors.bedrock import KEY_ID, SECRET

ANSWER = b'{"output": {"message": {"content": [{"text": "a"}]}}, "stopReason": "end_turn"}'
MODEL = "arn:aws:bedrock:us-east-1:1:inference-profile/us.claude-x-v1:0"
CONFIG = """
endpoints:
  - name: it
    endpoint_type: llm/v1/chat
    model:
      provider: bedrock
      name: '%s'
      config:
        api_base: '%s'
        aws_config: {aws_region: us-east-1, aws_access_key_id: %s, aws_secret_access_key: %s}
"""


async def test_a_signed_request_arrives_with_the_path_that_was_signed():
    heard: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        )
        heard.extend((head, await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        endpoint = parse(CONFIG % (MODEL, address, KEY_ID, SECRET), {}).endpoints["it"]
        transport = DirectTransport()
        try:
            body: JSONObject = {"messages": [{"role": "user", "content": "赤？"}]}
            assert (await bind(endpoint, transport).chat(body)).text == "a"
        finally:
            await transport.close()
    head, body_sent = heard
    line, *rest = head.decode("ascii").rstrip().split("\r\n")
    method, path, _ = line.split(" ")
    assert path.count("%3A") == 6
    assert path.count("%2F") == 1
    headers = {name: value.strip() for name, _, value in (field.partition(":") for field in rest)}
    assert signature_holds(method, address + path, headers, body_sent, secret=SECRET)
