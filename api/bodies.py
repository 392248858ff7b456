"""Request bodies: how large they may be, and which JSON is taken."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

from anyio import to_thread
from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope
from typing_extensions import override

from api.errors import RequestRefusedError
from api.faults import Place, pointer
from gateway.surfaces.exchange import BODY_PAUSE
from hikaku.errors import Fault, InvalidInput

MAX_DEPTH = 32
"""Objects and lists within each other."""

_MOST_FAULTS = 20
_MOST_DIGITS = 4_000
"""Of a whole number; Python reads 4,300 at most."""

_OFF_LOOP_BYTES = 64 * 1024
"""Bodies larger than this are parsed in a thread, so that they delay nobody else."""


def limited(scope: Scope, receive: Receive, most: int) -> Receive:
    """Wrap `receive` so that a body of more than `most` bytes is refused as soon as it shows.

    One that stops is not waited for.

    Raises:
        RequestRefusedError: 408, 413 or, for a compressed body, 415.
    """
    headers = Headers(scope=scope)
    if headers.get("content-encoding", "identity").lower() != "identity":
        detail = "compressed bodies are not taken; send this one without Content-Encoding"
        raise RequestRefusedError(
            status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE, code="compressed_body", detail=detail
        )
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(most)
    received, is_whole = 0, False

    async def counted() -> Message:
        nonlocal received, is_whole
        try:
            # What comes after the body is that the client leaves, and that may take long.
            async with asyncio.timeout(None if is_whole else BODY_PAUSE):
                message = await receive()
        except TimeoutError:
            raise _too_slow() from None
        if message["type"] == "http.request":
            is_whole = not message.get("more_body")
            received += len(message.get("body", b""))
            if received > most:
                raise _too_large(most)
        return message

    return counted


def _too_slow() -> RequestRefusedError:
    return RequestRefusedError(
        status=HTTPStatus.REQUEST_TIMEOUT,
        code="body_too_slow",
        detail=f"nothing more of the body came for {BODY_PAUSE:g} s",
        headers={"connection": "close"},
    )


def _too_large(most: int) -> RequestRefusedError:
    return RequestRefusedError(
        status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        code="body_too_large",
        detail=f"the body is larger than the {most / 2**20:g} MiB this path takes",
        # What is still on its way is not worth reading.
        headers={"connection": "close"},
    )


class Checked(Request):
    """A request whose JSON is read strictly, and before the route sees it."""

    _document: Any = None

    async def load(self) -> None:
        """Read and parse the body.

        Raises:
            RequestRefusedError: It is not declared as JSON.
            InvalidInput: It is not JSON that we take.
        """
        raw = await self.body()
        if not raw:
            return
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise RequestRefusedError(
                status=HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
                code="unsupported_media_type",
                detail=f"this path takes application/json, not {kind or 'a body without a type'}",
            )
        if len(raw) > _OFF_LOOP_BYTES:
            self._document = await to_thread.run_sync(partial(parse, raw))
        else:
            self._document = parse(raw)

    @override
    async def json(self) -> Any:
        return self._document


def parse(raw: bytes) -> object:
    """Read a JSON document.

    Raises:
        InvalidInput: It is not UTF-8, not JSON, nested too deeply, has a key twice, holds NaN or
            a number no computer keeps, or text that Postgres or a model could not be given.
    """
    try:
        document = _read(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        fault = Fault(pointer=place, message=f"is not JSON: {error.msg}")
        raise InvalidInput(
            f"the body is not JSON: {error.msg} ({place})", faults=[fault]
        ) from error
    except RecursionError as error:
        raise InvalidInput(f"the body is nested deeper than {MAX_DEPTH} levels") from error
    _check(document)
    return document


@dataclass(frozen=True, slots=True)
class _Unfit:
    """Stands in a document for a value that is not taken, until its place is known."""

    why: str


def _read(text: str) -> object:
    read = partial(
        json.loads, parse_constant=_constant, parse_float=_finite, object_pairs_hook=_object
    )
    try:
        return read(text)
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python reads no numbers of many thousand digits, and does not say where.
        return read(text, parse_int=_whole)


def _constant(name: str) -> _Unfit:
    return _Unfit(f"{name} is not JSON")


def _finite(digits: str) -> float | _Unfit:
    number = float(digits)
    return number if math.isfinite(number) else _Unfit(f"the number {digits[:40]} is too large")


def _whole(digits: str) -> int | _Unfit:
    if len(digits) > _MOST_DIGITS:
        return _Unfit(f"the number {digits[:20]}… has {len(digits):,} digits: too many")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counted = Counter(key for key, _ in pairs)
        twice = [key for key, n in counted.items() if n > 1]
        found |= {key: _Unfit(f"the key {key[:40]!r} stands twice in one object") for key in twice}
    return found


def _check(document: object) -> None:
    faults: list[Fault] = []
    for place, value in _walk(document):
        found = value.why if isinstance(value, _Unfit) else unfit(value)
        if found is not None:
            faults.append(Fault(pointer=printable(pointer(place)), message=printable(found)))
        if len(faults) == _MOST_FAULTS:
            break
    if faults:
        first = faults[0].message
        raise InvalidInput(f"the body is not taken: {first}", faults=faults)


def unfit(text: str) -> str | None:
    """Say why text cannot be stored or sent; None when it can."""
    if "\0" in text:
        return "holds NUL (U+0000), which cannot be stored; remove it"
    if not text.isascii() and not _is_unicode(text):
        return "holds half of a surrogate pair, which is not text; send the whole character"
    return None


def printable(text: str) -> str:
    """Write text so that it can be sent, whatever is in it."""
    return text.replace("\0", "\\u0000").encode("utf-8", "backslashreplace").decode("utf-8")


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _walk(document: object) -> Iterator[tuple[Place, str | _Unfit]]:
    """Give every text of a document, keys included, and what is unfit, with its place."""
    waiting: list[tuple[Place, object]] = [((), document)]
    while waiting:
        place, value = waiting.pop()
        if len(place) > MAX_DEPTH:
            raise InvalidInput(f"the body is nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, str):
            yield place, value
        elif isinstance(value, dict):
            for key, inner in value.items():
                yield (*place, key), key
                waiting.append(((*place, key), inner))
        elif isinstance(value, list):
            waiting.extend(((*place, index), inner) for index, inner in enumerate(value))
        elif isinstance(value, _Unfit):
            yield place, value
