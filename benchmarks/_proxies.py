"""The least that a Python gateway can be: a proxy without features, bare or in FastAPI.

    python benchmarks/_proxies.py asgi|fastapi --port 9001 --upstream http://127.0.0.1:9000

Both pass the request's bytes on with aiohttp, and the answer's bytes back.
"""

import argparse

import aiohttp
import uvicorn

HEADERS = {"content-type": "application/json"}
JSON = [(b"content-type", b"application/json")]
EVENTS = [(b"content-type", b"text/event-stream")]


def asgi(upstream: str):
    async def body_of(receive):
        pieces = []
        while True:
            message = await receive()
            pieces.append(message.get("body", b""))
            if not message.get("more_body"):
                return b"".join(pieces)

    session = None

    async def app(scope, receive, send):
        nonlocal session
        if scope["type"] != "http":
            while (message := await receive())["type"] != "lifespan.shutdown":
                await send({"type": message["type"] + ".complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if session is None:
            session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        body = await body_of(receive)
        async with session.post(upstream + scope["path"], data=body, headers=HEADERS) as reply:
            start = {"type": "http.response.start", "status": reply.status}
            if b'"stream":true' in body:
                await send({**start, "headers": EVENTS})
                async for piece in reply.content.iter_any():
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
                return
            answer = await reply.read()
        length = (b"content-length", str(len(answer)).encode())
        await send({**start, "headers": [*JSON, length]})
        await send({"type": "http.response.body", "body": answer})

    return app


def fastapi(upstream: str):
    from contextlib import asynccontextmanager  # noqa: PLC0415

    from fastapi import FastAPI, Request, Response  # noqa: PLC0415
    from fastapi.responses import StreamingResponse  # noqa: PLC0415

    @asynccontextmanager
    async def lifespan(app):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            app.state.session = session
            yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        body = await request.body()
        opened = app.state.session.post(upstream + request.url.path, data=body, headers=HEADERS)
        if b'"stream":true' not in body:
            async with opened as reply:
                answer = await reply.read()
                return Response(answer, reply.status, media_type="application/json")

        async def pieces():
            async with opened as reply:
                async for piece in reply.content.iter_any():
                    yield piece

        return StreamingResponse(pieces(), media_type="text/event-stream")

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["asgi", "fastapi"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    made = {"asgi": asgi, "fastapi": fastapi}[options.kind](options.upstream)
    uvicorn.run(made, port=options.port, access_log=False, log_level="warning")
