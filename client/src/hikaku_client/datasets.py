"""Datasets: rows kept on the server under a name, one immutable revision after another."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from hikaku_client import rows as row_sources
from hikaku_client.connection import Connection
from hikaku_client.rows import Rows
from hikaku_client.wire import DatasetAnswer, Json


class Datasets:
    """`client.datasets`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def upload(
        self,
        source: str | os.PathLike[str] | Rows,
        *,
        name: str | None = None,
        format: str | None = None,  # noqa: A002 - as the API says
        encoding: str | None = None,
    ) -> DatasetAnswer:
        """Stream a file or rows up as a new revision; the same content again gives the same one.

        Args:
            source: A path to JSONL, CSV, TSV or JSON, or rows (mappings, a frame).
            name: The file's name without its ending if left out; rows without one have an id only.
            format: jsonl, csv, tsv or json, when the file's name does not say.
            encoding: utf-8, cp932, utf-16, when it is not to be detected.
        """
        if isinstance(source, str | os.PathLike):
            return self._upload_file(Path(source), name, format, encoding)
        chunks = row_sources.lines(row_sources.as_json(source))
        query = {"name": name, "format": "jsonl"}
        answer = self._connection.upload("/datasets", query, chunks, "application/x-ndjson")
        return cast("DatasetAnswer", answer)

    def list(self) -> Iterator[DatasetAnswer]:
        """Go through the datasets, newest revision of each."""
        return (cast("DatasetAnswer", item) for item in self._connection.pages("/datasets"))

    def get(self, dataset_id: str) -> DatasetAnswer:
        """Find a revision by its `ds_...`."""
        return cast("DatasetAnswer", self._connection.get(f"/datasets/{dataset_id}"))

    def rows(self, dataset_id: str) -> Iterator[dict[str, Json]]:
        """Go through the rows of a revision, page by page."""
        pages = self._connection.pages(f"/datasets/{dataset_id}/rows")
        return (cast("dict[str, Json]", item["data"]) for item in pages)

    def _upload_file(
        self,
        path: Path,
        name: str | None,
        format: str | None,  # noqa: A002 - as the API says
        encoding: str | None,
    ) -> DatasetAnswer:
        kind = row_sources.file_type(path, format)
        query = {"name": name or path.stem, "format": kind.format, "encoding": encoding}
        chunks = row_sources.file_chunks(path)
        answer = self._connection.upload("/datasets", query, chunks, kind.media_type)
        return cast("DatasetAnswer", answer)
