"""The one door to the server: sends, repeats what may be repeated, and translates failures."""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus

import httpx2

from hikaku_client.errors import (
    Conflict,
    InvalidRequest,
    NotReachable,
    Problem,
    ServerFailed,
    Unavailable,
    problem,
)
from hikaku_client.servers import Server
from hikaku_client.wire import Json

PAUSES = (0.2, 0.5, 1.0)
"""Seconds before each repetition of a request that may be repeated."""

TIMEOUT = httpx2.Timeout(60.0, connect=5.0, read=300.0)
"""Seconds; a synchronous chat may take minutes on a small machine."""

_RESTARTING = frozenset(
    {HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
)

Query = Mapping[str, str | int | Sequence[str] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Time, so that tests need not wait for it."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Connection:
    """A connection to one server's `/api/v1`."""

    def __init__(
        self, server: Server, *, transport: httpx2.BaseTransport | None, clock: Clock
    ) -> None:
        self.server = server
        self.clock = clock
        headers = {"accept": "application/json"}
        if server.api_key:
            headers["authorization"] = f"Bearer {server.api_key}"
        self._http = httpx2.Client(
            base_url=f"{server.url}/api/v1",
            headers=headers,
            timeout=TIMEOUT,
            transport=transport,
            trust_env=not server.is_local,
        )

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def get(self, path: str, query: Query | None = None) -> Json:
        """Read; repeated when the server does not answer."""
        return self._repeated("GET", path, query=query, repeats=True)

    def post(
        self, path: str, body: Json = None, *, query: Query | None = None, once: bool = False
    ) -> Json:
        """Send a body.

        With `once`, an `Idempotency-Key` goes along, so that sending it again after a lost
        answer does not do the work twice; without it nothing is sent twice.
        """
        key = {"idempotency-key": str(uuid.uuid4())} if once else {}
        return self._repeated("POST", path, query=query, body=body, headers=key, repeats=once)

    def put(self, path: str, body: Json) -> Json:
        """Put something in a place; sent again, it changes nothing more."""
        return self._repeated("PUT", path, body=body, repeats=True)

    def patch(self, path: str, body: Json) -> Json:
        """Change a part."""
        return self._repeated("PATCH", path, body=body, repeats=False)

    def delete(self, path: str) -> None:
        """Remove."""
        self._repeated("DELETE", path, repeats=False)

    def upload(self, path: str, query: Query, body: Iterable[bytes], media_type: str) -> Json:
        """Stream a body up; it can be read once only, so it is never repeated."""
        with self._translated():
            response = self._http.post(
                path, params=_given(query), content=body, headers={"content-type": media_type}
            )
        return _answer(response)

    @contextmanager
    def stream(
        self,
        path: str,
        query: Query,
        *,
        headers: Mapping[str, str] | None = None,
        silence: float | None = None,
        kind: str | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """Read a long answer piece by piece.

        Args:
            path: Where.
            query: Its parameters.
            headers: On top of the usual ones.
            silence: Seconds between two pieces at most; else as for any answer.
            kind: The media type that it must have.

        Raises:
            ServerFailed: It is of another type.
        """
        timeout = TIMEOUT if silence is None else httpx2.Timeout(silence, connect=5.0)
        request = self._http.stream(
            "GET", path, params=_given(query), headers=headers, timeout=timeout
        )
        with self._translated(), request as response:
            if response.is_error:
                response.read()
                _answer(response)
            found = response.headers.get("content-type", "")
            if kind is not None and not found.startswith(kind):
                raise ServerFailed(f"{response.url} answered with {found or 'no type'}")
            yield response.iter_bytes()

    def pages(self, path: str, query: Query | None = None) -> Iterator[dict[str, Json]]:
        """Go through a list, page by page."""
        after: str | None = None
        while True:
            page = self.get(path, {"limit": 200, **(query or {}), "after": after})
            if not isinstance(page, dict) or not isinstance(data := page.get("data"), list):
                raise ServerFailed(f"{self.server.url} answered {path} with something else")
            yield from (item for item in data if isinstance(item, dict))
            last = page.get("last_id")
            if not page.get("has_more") or not isinstance(last, str) or last == after:
                return
            after = last

    def _repeated(
        self,
        method: str,
        path: str,
        *,
        repeats: bool,
        query: Query | None = None,
        body: Json = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        for pause in (*PAUSES, None) if repeats else (None,):
            try:
                return self._once(method, path, query=query, body=body, headers=headers)
            except (NotReachable, Unavailable, Conflict) as error:
                if pause is None or not _may_pass(error):
                    raise
                self.clock.sleep(pause)
        raise AssertionError("the last round returns or raises")

    def _once(
        self,
        method: str,
        path: str,
        *,
        query: Query | None,
        body: Json,
        headers: Mapping[str, str] | None,
    ) -> Json:
        with self._translated():
            response = self._http.request(
                method,
                path,
                params=_given(query),
                content=None if body is None else encode(body),
                headers={"content-type": "application/json", **(headers or {})},
            )
        return _answer(response)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except httpx2.TransportError as error:
            raise NotReachable(self._unreachable(error)) from error

    def _unreachable(self, error: httpx2.TransportError) -> str:
        where = self.server.url
        if self.server.source != "default":
            where += f" (from {self.server.source})"
        reason = str(error) or type(error).__name__
        if isinstance(error, httpx2.ConnectError):
            return (
                f"no Hikaku server answers at {where}: {reason}\n"
                "Start one with `hikaku up`, or name another with --url or HIKAKU_URL."
            )
        return f"the connection to {where} failed: {reason}"


def encode(value: Json) -> bytes:
    """Write JSON as UTF-8 with its characters unescaped.

    Raises:
        InvalidRequest: The value is not JSON (NaN, an object of Python's own, half a character).
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"cannot be sent as JSON: {error}") from error


def _may_pass(error: NotReachable | Problem) -> bool:
    """Whether the same request may succeed in a moment."""
    match error:
        case NotReachable():
            return True
        case Conflict():
            # The first sending of the same key is still being worked on.
            return error.code == "request_in_flight"
        case _:
            return error.status in _RESTARTING


def _given(query: Query | None) -> dict[str, str | int | list[str]]:
    given = {name: value for name, value in (query or {}).items() if value is not None}
    return {
        name: value if isinstance(value, str | int) else list(value)
        for name, value in given.items()
    }


def _answer(response: httpx2.Response) -> Json:
    if response.status_code == HTTPStatus.NO_CONTENT:
        return None
    answer = _json(response)
    if not response.is_error:
        return answer
    raise problem(
        response.status_code,
        answer if isinstance(answer, dict) else {},
        reason=f"HTTP {response.status_code} {response.reason_phrase}",
        request_id=response.headers.get("x-request-id"),
    )


def _json(response: httpx2.Response) -> Json:
    try:
        answer: Json = response.json()
    except ValueError as error:
        if response.is_error:
            return None
        raise ServerFailed(
            f"{response.url} answered with {response.headers.get('content-type', 'no type')},"
            " not JSON; is it a Hikaku server?",
            status=response.status_code,
        ) from error
    return answer
