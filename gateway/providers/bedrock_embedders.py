"""Embeddings models that are invoked as they are: each family's own body and answer."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
from typing_extensions import override

from gateway.errors import InvalidRequest
from gateway.providers.judged import decoded
from gateway.providers.wishes import Wishes
from gateway.types import JSON

_VENDOR = "this model on Bedrock"
_TOKENS_HEARD = "x-amzn-bedrock-input-token-count"


class Embedder(Protocol):
    """How one family embeds."""

    def payloads(self, texts: list[str], wishes: Wishes, purpose: JSON) -> list[dict[str, JSON]]:
        """Bodies, to be sent one after the other; `purpose` is the endpoint's `input_type`."""
        ...

    def read(
        self, raw: bytes, headers: Mapping[str, str]
    ) -> tuple[Sequence[list[float]], int | None]:
        """Vectors of one answer, and the tokens that were read."""
        ...


class _TitanVector(msgspec.Struct):
    embedding: list[float]
    inputTextTokenCount: int | None = None  # noqa: N815 - Amazon's name


class _Titan(Embedder):
    """Amazon's: one text at a time."""

    _decoder = msgspec.json.Decoder(_TitanVector)

    @override
    def payloads(self, texts: list[str], wishes: Wishes, purpose: JSON) -> list[dict[str, JSON]]:
        more = wishes.carry({"dimensions": "dimensions", "normalize": "normalize"})
        wishes.take("encoding_format")
        wishes.end(_VENDOR)
        return [{"inputText": text, **more} for text in texts]

    @override
    def read(
        self, raw: bytes, headers: Mapping[str, str]
    ) -> tuple[Sequence[list[float]], int | None]:
        found = decoded(self._decoder, raw, "an embedding of Titan's")
        return [found.embedding], found.inputTextTokenCount


class _ByType(msgspec.Struct):
    float: list[list[float]]


class _CohereVectors(msgspec.Struct):
    embeddings: _ByType | list[list[float]]


class _Cohere(Embedder):
    """Cohere's: all texts at once, and it wants to know what for."""

    _decoder = msgspec.json.Decoder(_CohereVectors)

    @override
    def payloads(self, texts: list[str], wishes: Wishes, purpose: JSON) -> list[dict[str, JSON]]:
        given = wishes.take("input_type")
        if (kind := given if given is not None else purpose) is None:
            raise InvalidRequest(
                "Cohere needs `input_type`: give it with the request, or in the endpoint's "
                "`config`, such as `search_document` or `search_query`",
                code="input_type",
            )
        payload: dict[str, JSON] = {
            "texts": list(texts),
            "input_type": kind,
            "embedding_types": ["float"],
            "truncate": wishes.take("truncate") or "NONE",
            **wishes.carry({"dimensions": "output_dimension"}),
        }
        wishes.take("encoding_format")
        wishes.end(_VENDOR)
        return [payload]

    @override
    def read(
        self, raw: bytes, headers: Mapping[str, str]
    ) -> tuple[Sequence[list[float]], int | None]:
        found = decoded(self._decoder, raw, "embeddings of Cohere's").embeddings
        vectors = found if isinstance(found, list) else found.float
        return vectors, _count(headers)


def embedder_of(model: str) -> Embedder | None:
    """Who embeds for a model; None when it is none that embeds texts."""
    if "amazon.titan-embed-text" in model:
        return _Titan()
    return _Cohere() if "cohere.embed-" in model else None


def _count(headers: Mapping[str, str]) -> int | None:
    """Tokens that were read, which Cohere's answers on Bedrock tell in a header only."""
    found = headers.get(_TOKENS_HEARD, "")
    return int(found) if found.isdecimal() else None
