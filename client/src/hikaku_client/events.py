"""The stream of what happens to a job: Server-Sent Events, gone on with where it broke."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypedDict, cast

from hikaku_client.connection import Connection
from hikaku_client.errors import Problem, ServerFailed
from hikaku_client.wire import Counts

SILENCE = 30.0
"""Seconds without a word, pings included, after which a stream is taken for broken."""


class Moment(TypedDict):
    """How far a job is: the data of a `progress` event."""

    state: str
    counts: Counts
    rate_per_second: float | None
    eta_seconds: float | None


class Stream:
    """The events of one job; after a break it is opened again behind the last event seen."""

    def __init__(self, connection: Connection, job_id: str) -> None:
        self._connection = connection
        self._path = f"/jobs/{job_id}/events"
        self._last: str | None = None
        self.is_offered = True
        """False when the server has none for us: look at the job now and then instead."""

    def moments(self, *, patience: float | None) -> Iterator[Moment]:
        """Give each moment the server tells of, until it ends the stream.

        Args:
            patience: Seconds of silence that are borne; None for as long as is usual.

        Raises:
            NotReachable: The stream broke, or was silent for too long.
        """
        headers = {"accept": "text/event-stream"}
        if self._last is not None:
            headers["last-event-id"] = self._last
        silence = SILENCE if patience is None else min(patience, SILENCE)
        try:
            with self._connection.stream(
                self._path, {}, headers=headers, silence=silence, kind="text/event-stream"
            ) as chunks:
                yield from self._read(chunks)
        except (Problem, ServerFailed):
            self.is_offered = False

    def _read(self, chunks: Iterable[bytes]) -> Iterator[Moment]:
        for fields in frames(chunks):
            if fields.get("event") == "progress":
                with suppress(ValueError):
                    yield cast("Moment", json.loads(fields["data"]))
            self._last = fields.get("id", self._last)


def frames(chunks: Iterable[bytes]) -> Iterator[dict[str, str]]:
    """Cut a stream into its events; comments and unknown fields are passed over."""
    fields: dict[str, str] = {}
    for line in _lines(chunks):
        if not line:
            if "data" in fields:
                yield fields
            fields = {}
            continue
        name, _, value = line.partition(":")
        if name in {"event", "id", "data"}:
            text = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{text}" if name in fields else text


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r").decode("utf-8", "replace")
