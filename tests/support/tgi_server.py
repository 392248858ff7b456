"""A small server with TGI's manners, as a process: `python tgi_server.py PORT CAPACITY SECONDS`.

It refuses what exceeds its capacity at once, as TGI's semaphore does, and tells it by `/info`.
"""

import asyncio
import json
import sys

STATS = {"arrived": 0, "refused": 0, "running": 0, "peak": 0}


async def main(port: int, capacity: int, seconds: float) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ")
                lengths = [x for x in head.lower().split(b"\r\n") if x[:15] == b"content-length:"]
                body = await reader.readexactly(int(lengths[0][15:])) if lengths else b""
                status, answer = await reply(method, path, body)
                raw = json.dumps(answer, ensure_ascii=False).encode()
                writer.write(
                    f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
                    f"x-prompt-tokens: 3\r\ncontent-length: {len(raw)}\r\n\r\n".encode()
                    + raw
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def reply(method: str, path: str, body: bytes) -> tuple[int, object]:
        if method == "GET":
            info = {"model_id": "qwen", "max_concurrent_requests": capacity, "router": "tgi"}
            return 200, {"/health": {}, "/info": info, "/stats": STATS}[path]
        STATS["arrived"] += 1
        if STATS["running"] >= capacity:
            STATS["refused"] += 1
            return 429, {"error": "Model is overloaded", "error_type": "overloaded"}
        STATS["running"] += 1
        STATS["peak"] = max(STATS["peak"], STATS["running"])
        try:
            await asyncio.sleep(seconds)
        finally:
            STATS["running"] -= 1
        text = f"{port}: {json.loads(body)['inputs']}"
        details = {"finish_reason": "eos_token", "generated_tokens": 2, "prefill": [], "tokens": []}
        return 200, {"generated_text": text, "details": details}

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
