"""A provider in a process of its own: answers late, fails as told, writes down all that it saw.

It speaks OpenAI's chat completions and echoes `model:prompt`, so that an answer says whose it is.
Every request is a line in its log when it has arrived, and another when it is answered, whether
or not the asker is still there: this is what the provider would bill. It knows nothing of ours
but the bearer key, by which a test tells its workers apart.

    python -m tests.support.model_server FD LOG     serves the listening socket FD
"""

import asyncio
import os
import random
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec

ANSWER = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"


class Mood(msgspec.Struct, frozen=True, kw_only=True):
    """How it behaves from now on; `POST /mood` changes it."""

    seconds: float = 0.1
    """Median of the time to an answer, log-normal."""
    spread: float = 0.3
    seed: int = 0
    limited: float = 0.0
    """Share of the calls answered 429, and so on; which ones, seed, cell and turn decide."""
    broken: float = 0.0
    reset: float = 0.0
    hung: float = 0.0
    """Never answered: the asker loses patience."""
    cut: float = 0.0
    """A 200 whose body ends in the middle."""
    garbled: float = 0.0
    """A 200 whose body is not JSON."""
    huge: float = 0.0
    """A 200 whose body is `HUGE` bytes long."""
    retry_after: str | None = None


HUGE = 200_000_000
FAULTS = ("limited", "broken", "reset", "hung", "cut", "garbled", "huge")


class ModelServer:
    """All connections of one process."""

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._mood = Mood()
        self._turns: dict[str, int] = {}
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        match first.split()[:2]:
            case ["POST", "/mood"]:
                self._mood = msgspec.json.decode(body, type=Mood)
                writer.write(_reply(200, b"{}"))
            case ["POST", _]:
                return await self._answer(body, headers.get("authorization", ""), writer)
            case _:  # it has no health to show
                writer.write(_reply(404, b"{}"))
        return True

    async def _answer(self, body: bytes, bearer: str, writer: asyncio.StreamWriter) -> bool:
        asked = msgspec.json.decode(body)
        model, prompt = asked["model"], asked["messages"][-1]["content"]
        call = self._note_call(model, prompt, bearer.removeprefix("Bearer "))
        fault, seconds = self._fate(f"{model}:{prompt}")
        if fault == "hung":
            self._note_answer(call, 0)
            await asyncio.sleep(3600)
        await asyncio.sleep(seconds)
        failures = {"limited": 429, "broken": 500, "reset": 0, "cut": -1, "garbled": -2, "huge": -3}
        status = failures.get(fault or "", 200)
        self._note_answer(call, status)  # first: who is killed now has answered this
        if fault == "reset":
            writer.transport.abort()
            return False
        said = _completion(model, f"{model}:{prompt}")
        match fault:
            case "limited":
                writer.write(_reply(429, b'{"error":{"message":"slow"}}', self._mood.retry_after))
            case "broken":
                writer.write(_reply(500, b'{"error":{"message":"broken"}}'))
            case "garbled":
                writer.write(_reply(200, b"<html>"))
            case "cut":
                writer.write(_reply(200, said)[: -len(said) // 2])
                return False
            case "huge":
                await _write_huge(writer)
            case _:
                writer.write(_reply(200, said))
        await writer.drain()
        return True

    def _fate(self, cell: str) -> tuple[str | None, float]:
        mood = self._mood
        self._turns[cell] = self._turns.get(cell, 0) + 1
        chance = random.Random(f"{mood.seed}:{cell}:{self._turns[cell]}")  # noqa: S311
        seconds = mood.seconds * chance.lognormvariate(0.0, mood.spread)
        draw, floor = chance.random(), 0.0
        for fault in FAULTS:
            floor += getattr(mood, fault)
            if draw < floor:
                return fault, seconds
        return None, seconds

    def _note_call(self, model: str, prompt: str, caller: str) -> int:
        self._number += 1
        self._write(event="call", call=self._number, model=model, prompt=prompt, caller=caller)
        return self._number

    def _note_answer(self, call: int, status: int) -> None:
        """Status 0 is no answer, below 0 one that cannot be read."""
        self._write(event="answer", call=call, status=status)

    def _write(self, **line: object) -> None:
        os.write(self._log, msgspec.json.encode(line | {"at": time.time()}) + b"\n")


def _reply(status: int, body: bytes, retry_after: str | None = None) -> bytes:
    more = b"" if retry_after is None else b"retry-after: %s\r\n" % retry_after.encode()
    return ANSWER % (status, b"X", more, len(body)) + body


async def _write_huge(writer: asyncio.StreamWriter) -> None:
    """As much as the asker takes."""
    writer.write(ANSWER % (200, b"X", b"", HUGE) + b'{"choices":[{"message":{"content":"')
    piece = b"x" * 1_000_000
    for _ in range(HUGE // len(piece)):
        writer.write(piece)
        await writer.drain()


def _completion(model: str, text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    return msgspec.json.encode(
        {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        }
    )


async def main(file: int, log: Path) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    listening = socket.socket(fileno=file)
    server = await asyncio.start_server(ModelServer(log).accept, sock=listening, backlog=1024)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
