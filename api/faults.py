"""Turns what Pydantic says of a request into pointers and sentences people can act on."""

import difflib
from collections.abc import Container, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from hikaku.errors import Fault

_MOST = 50
"""Faults told of one request."""

_MENDS = {
    "missing": "is required",
    "string_type": "must be text",
    "string_unicode": "holds characters that are not Unicode text (a lone surrogate)",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "decimal_type": "must be an amount: a number, or one as text",
    "decimal_parsing": "must be an amount: a number, or one as text",
}
_LENGTHS = {
    "too_short": ("min_length", "must hold at least", "entry", "entries"),
    "too_long": ("max_length", "must hold at most", "entry", "entries"),
    "string_too_short": ("min_length", "must have at least", "character", "characters"),
    "string_too_long": ("max_length", "must have at most", "character", "characters"),
}
_MOST_SHOWN = 200
"""Characters of a key."""

Place = tuple[str | int, ...]


def faults_of(
    errors: Sequence[Mapping[str, Any]], body: object, model: type[BaseModel] | None
) -> list[Fault]:
    """Translate the errors; those of one place that say the same are told once."""
    placed = [(error, _in_body(error, body)) for error in errors[:_MOST]]
    outer = {place[:depth] for _, place in placed for depth in range(len(place))}
    told = [(e, place) for e, place in placed if not _is_beside_the_point(e, body, place, outer)]
    faults = [_fault(error, place, model) for error, place in told]
    return list({(fault.pointer, fault.message): fault for fault in faults}.values())


def pointer(place: Sequence[str | int]) -> str:
    """Write a place in a JSON document as an RFC 6901 pointer."""
    parts = (_short(part).replace("~", "~0").replace("/", "~1") for part in place)
    return "".join(f"/{part}" for part in parts)


def _short(part: str | int) -> str:
    text = str(part)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _fault(error: Mapping[str, Any], place: Place, model: type[BaseModel] | None) -> Fault:
    where, *rest = error["loc"]
    if where != "body":
        name = " ".join(str(part) for part in rest)
        return Fault(pointer=f"{where} {name}", message=f"{name} {_mend(error)}")
    if error["type"] == "extra_forbidden":
        message = f"{_name(place)} is not known here{_nearest(_short(place[-1]), model)}"
    else:
        message = f"{_name(place)} {_mend(error)}"
    return Fault(pointer=pointer(place), message=message)


def _name(place: Place) -> str:
    if not place:
        return "the body"
    parent, last = place[-2:-1], place[-1]
    if isinstance(last, int) and parent:
        return f"entry {last} of `{_short(parent[0])}`"
    return f"`{_short(last)}`"


def _mend(error: Mapping[str, Any]) -> str:
    kind = str(error["type"])
    if kind in _MENDS:
        return _MENDS[kind]
    if kind in _LENGTHS:
        bound, verb, one, several = _LENGTHS[kind]
        n = error["ctx"][bound]
        return f"{verb} {n:,} {one if n == 1 else several}"
    words = str(error["msg"]).removeprefix("Value error, ")
    if words.startswith("Input should "):
        return "must " + words.removeprefix("Input should ")
    return f"is refused: {words[:1].lower()}{words[1:]}"


def _is_beside_the_point(
    error: Mapping[str, Any], body: object, place: Place, outer: Container[Place]
) -> bool:
    """Tell what follows from other faults alone.

    A list whose entries are refused is not short. An object that has faults inside was not meant
    as the text that might stand there as well.
    """
    sent = _at(body, place)
    match error["type"]:
        case "too_short":
            return isinstance(sent, list | dict) and len(sent) >= error["ctx"]["min_length"]
        case "string_type":
            return isinstance(sent, dict) and place in outer
        case _:
            return False


def _at(body: object, place: Place) -> object:
    found: Any = body
    for part in place:
        if not _is_in(part, found):
            return None
        found = found[part]
    return found


def _in_body(error: Mapping[str, Any], body: object) -> Place:
    """Drop what Pydantic puts into a location that is not in the document (names of unions)."""
    where, *loc = error["loc"]
    kind = error["type"]
    if where != "body":
        return ()
    place: list[str | int] = []
    at: Any = body
    for index, part in enumerate(loc):
        is_last = index == len(loc) - 1
        if _is_in(part, at):
            at = at[part]
        elif not (is_last and kind == "missing"):
            continue
        place.append(part)
    return tuple(place)


def _is_in(part: str | int, value: object) -> bool:
    if isinstance(value, list):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, dict) and part in value


def _nearest(name: str, model: type[BaseModel] | None) -> str:
    if model is None:
        return ""
    schema = model.model_json_schema()
    shapes = [schema, *schema.get("$defs", {}).values()]
    known = {field for shape in shapes for field in shape.get("properties", {})}
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean `{near[0]}`?" if near else ""
