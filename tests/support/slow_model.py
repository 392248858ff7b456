"""A model server in the test's own loop: slow on request, counts what it has, streams in pieces."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class SlowModel:
    """Speaks OpenAI's chat completions; the first word of the last message says how.

    `wait S`: answers after S seconds. `stream S N`: N chunks over S seconds, when asked to stream.
    `hold N`: answers when `released` is set; asked to stream, with N chunks, one of them before.
    `flow S`: a chunk every S seconds until `released` is set, and a last one.
    """

    def __init__(self) -> None:
        self.running = 0
        self.answered = 0
        self.left = 0
        """Calls whose caller went away; a probe of its health is none."""
        self.released = asyncio.Event()
        """What is on hold ends, however long the machine took to bring it all here."""
        self._changed = asyncio.Condition()
        self.tasks: set[asyncio.Task[None]] = set()
        self.server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def die(self) -> None:
        """Listen no more, and cut whatever is connected."""
        assert self.server is not None
        self.server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def reached(self, running: int) -> None:
        """Wait until so many calls run at once."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.running >= running)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own: one that the stream's protocol keeps complains when it is cancelled.
        task = asyncio.create_task(self._serve(reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        is_call = False
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                is_call = not head.startswith(b"GET")
                if not is_call:  # It has no health to show.
                    writer.write(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n")
                    continue
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = msgspec.json.decode(await reader.readexactly(length))
                self.running += 1
                async with self._changed:
                    self._changed.notify_all()
                try:
                    await self._answer(body, writer)
                    self.answered += 1
                finally:
                    self.running -= 1
        except asyncio.IncompleteReadError:
            pass
        except ConnectionError:
            self.left += is_call
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, body: dict[str, object], writer: asyncio.StreamWriter) -> None:
        messages = body["messages"]
        assert isinstance(messages, list)
        words = str(messages[-1]["content"]).split()
        if body.get("stream"):
            await self._stream(words, writer)
            return
        await (self.released.wait() if words[0] == "hold" else asyncio.sleep(float(words[1])))
        message = {"role": "assistant", "content": f"{body['model']} {words[1]}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        raw = msgspec.json.encode({"choices": [choice], "model": body["model"]})
        writer.write(HEAD % len(raw) + raw)
        await writer.drain()

    async def _stream(self, words: list[str], writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM)
        async for number, last in self._pieces(words):
            choice = {
                "index": 0,
                "delta": {"content": f"{number} "},
                "finish_reason": "stop" if last else None,
            }
            event = b"data: " + msgspec.json.encode({"choices": [choice]}) + b"\n\n"
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
        done = b"data: [DONE]\n\n"
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(done), done))
        await writer.drain()

    async def _pieces(self, words: list[str]) -> AsyncIterator[tuple[int, bool]]:
        """The number of each chunk when it is its time, and whether it is the last."""
        if words[0] == "flow":
            number = 0
            while not self.released.is_set():
                yield number, False
                number += 1
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.released.wait(), float(words[1]))
            yield number, True
            return
        pieces = int(words[-1])
        for number in range(pieces):
            yield number, number == pieces - 1
            if words[0] == "stream":
                await asyncio.sleep(float(words[1]) / pieces)
            else:
                await self.released.wait()


@asynccontextmanager
async def slow_model(port: int = 0) -> AsyncIterator[tuple[SlowModel, int]]:
    """Serve one; gives it and its port."""
    model = SlowModel()
    server = model.server = await asyncio.start_server(model.serve, "127.0.0.1", port, backlog=2048)
    try:
        yield model, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(model.tasks):
            task.cancel()
        await asyncio.gather(*model.tasks, return_exceptions=True)
