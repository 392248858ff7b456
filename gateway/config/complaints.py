"""What is said about a mistake in the file: its place, and the nearest word that is known."""

import difflib
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel, ValidationError

from gateway.config.source import Path, Source
from gateway.errors import ConfigError


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word closest to `word`, or all when none is close."""
    options = sorted(known)
    if close := difflib.get_close_matches(word, options, n=1, cutoff=0.5):
        return f"did you mean `{close[0]}`?"
    return "known are: " + ", ".join(options)


def invalid(
    source: Source,
    path: Path,
    error: ValidationError,
    model: type[BaseModel],
    spelling: Mapping[str, str] | None = None,
) -> ConfigError:
    """Turn Pydantic's first complaint into a `ConfigError` at its place in the file."""
    # A misspelt key is told before the right one is missed.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    where = tuple((spelling or {}).get(str(part), part) for part in first["loc"])
    place = source.place((*path, *where))
    if first["type"] == "extra_forbidden":
        hint = nearest(str(where[-1]), _fields_at(model, where[:-1]))
        return source.error(place, f"unknown key `{where[-1]}`; {hint}")
    if first["type"] == "missing":
        return source.error(place, f"`{where[-1]}` is missing here")
    name = ".".join(str(part) for part in (*path[-1:], *where) if not isinstance(part, int))
    message = first["msg"].removeprefix("Value error, ")
    return source.error(place, f"`{name}`: {message}" if name else message)


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """The models that an annotation such as `A | None` or `tuple[A, ...]` is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for inner in getattr(annotation, "__args__", ()):
        yield from models_in(inner)


def _fields_at(model: type[BaseModel], where: tuple[str | int, ...]) -> list[str]:
    for part in where:
        if isinstance(part, str) and (info := model.model_fields.get(part)) is not None:
            model = next(models_in(info.annotation), model)
    return list(model.model_fields)
