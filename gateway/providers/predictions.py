"""What served models answer, in all the shapes that MLflow lets through."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from gateway.errors import MalformedAnswer
from gateway.providers import dialect
from gateway.providers.judged import Spoken
from gateway.types import Usage


def predictions(raw: bytes) -> object:
    """The body without its wrapper; a request given as one dictionary is answered without.

    Raises:
        MalformedAnswer: It is no JSON, or says nothing.
    """
    try:
        body: Any = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedAnswer(f"not an answer of a model server: {raw[:200]!r}") from error
    return body.get("predictions", body) if isinstance(body, dict) else body


def first_spoken(found: object) -> Spoken:
    """The first prediction, read as something said.

    Raises:
        MalformedAnswer: There is no text in it.
    """
    match found:
        case {"choices": [Mapping() as choice, *_], **rest}:
            return _spoken(choice, cast("dict[str, Any]", rest))
        case {"output": [*items]} if any(_is_message(item) for item in items):
            return _responded(items)
        case _:
            text, reason = _text(found)
            return Spoken(text=text, finish_reason=reason, usage=Usage(), model=None)


def vectors(found: object, *, n: int) -> list[list[float]]:
    """As many vectors as there were texts.

    Raises:
        MalformedAnswer: There are not.
    """
    rows = _rows(found)
    if _are_numbers(rows):
        rows = [rows]
    try:
        read = msgspec.convert([_vector(row) for row in rows], list[list[float]])
    except (msgspec.ValidationError, TypeError) as error:
        raise MalformedAnswer(f"predictions that are no vectors: {str(rows)[:200]}") from error
    if len(read) != n or not all(read):
        raise MalformedAnswer(f"{len(read)} vectors for {n} texts")
    return read


def _spoken(choice: Mapping[str, Any], body: Mapping[str, Any]) -> Spoken:
    """A chat or text completion of OpenAI's, as MLflow's chat models give one."""
    message = choice.get("message")
    if not isinstance(message, Mapping):
        said, reason = _text(choice)
        return Spoken(text=said, finish_reason=_word(reason), usage=Usage(), model=None)
    calls, text = message.get("tool_calls") or (), message.get("content")
    if not isinstance(text, str) and not calls:
        raise MalformedAnswer(f"a choice without text: {str(choice)[:200]}")
    answer = dialect.chat_answer(
        msgspec.json.encode({"choices": [choice], "usage": body.get("usage")})
    )
    return Spoken(
        text=text,
        finish_reason=_word(choice.get("finish_reason")),
        usage=answer.usage,
        model=body.get("model"),
        tool_calls=calls,
    )


def _responded(items: Sequence[Any]) -> Spoken:
    """Items of the Responses API, as MLflow's agents give them."""
    contents = (item.get("content") for item in items if _is_message(item))
    parts = [p for found in contents if isinstance(found, list) for p in found]
    texts = (p.get("text") for p in parts if isinstance(p, Mapping))
    text = "".join(said for said in texts if isinstance(said, str))
    return Spoken(text=text, finish_reason=None, usage=Usage(), model=None)


def _is_message(item: object) -> bool:
    return isinstance(item, Mapping) and item.get("type") == "message"


def _text(found: object) -> tuple[str, str | None]:
    match found:
        case str():
            return found, None
        case [first, *_]:
            return _text(first)
        case {"choices": [first, *_]} | {"candidates": [first, *_]}:
            return _text(first)
        case {"message": {"content": str(text)}, **rest} | {"text": str(text), **rest}:
            reason = rest.get("finish_reason")
            return text, str(reason) if reason is not None else None
        case {"generated_text": str(text)} | {"content": str(text)}:
            return text, None
        case Mapping() if len(found) == 1:
            return _text(next(iter(found.values())))
        case _:
            raise MalformedAnswer(f"predictions without text: {str(found)[:200]}")


def _rows(found: object) -> Any:  # noqa: ANN401 - JSON, judged by the caller
    """The list that the vectors stand in."""
    match found:
        case {"data": [*rows]} | {"embeddings": [*rows]}:
            return rows
        case Mapping() if len(found) == 1:
            return next(iter(found.values()))
        case _:
            return found


def _vector(row: object) -> object:
    """One row: a list, an object with one, or a data frame's row of numbered columns."""
    if not isinstance(row, Mapping):
        return row
    if "embedding" in row:
        return row["embedding"]
    if row and all(str(key).isdecimal() for key in row):
        return [row[key] for key in sorted(row, key=int)]
    return next(iter(row.values())) if len(row) == 1 else row


def _are_numbers(rows: object) -> bool:
    return isinstance(rows, list) and bool(rows) and all(isinstance(x, int | float) for x in rows)


def _word(reason: object) -> str | None:
    return dialect.finish_word(str(reason)) if reason is not None else None
