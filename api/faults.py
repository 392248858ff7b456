"""Turns what Pydantic says of a request into pointers and sentences people can act on."""

import difflib
from collections.abc import Mapping, Sequence
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
}

Place = tuple[str | int, ...]


def faults_of(
    errors: Sequence[Mapping[str, Any]], body: object, model: type[BaseModel] | None
) -> list[Fault]:
    """Translate the errors; those of one place that say the same are told once."""
    faults = [_fault(error, body, model) for error in errors[:_MOST]]
    return list({(fault.pointer, fault.message): fault for fault in faults}.values())


def pointer(place: Sequence[str | int]) -> str:
    """Write a place in a JSON document as an RFC 6901 pointer."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in place)


def _fault(error: Mapping[str, Any], body: object, model: type[BaseModel] | None) -> Fault:
    where, *rest = error["loc"]
    kind = str(error["type"])
    if where != "body":
        name = " ".join(str(part) for part in rest)
        return Fault(pointer=f"{where} {name}", message=f"{name} {_mend(error)}")
    place = _in_body(tuple(rest), body, kind)
    name = f"`{place[-1]}`" if place else "the body"
    if kind == "extra_forbidden":
        message = f"{name} is not known here{_nearest(str(place[-1]), model)}"
    else:
        message = f"{name} {_mend(error)}"
    return Fault(pointer=pointer(place), message=message)


def _mend(error: Mapping[str, Any]) -> str:
    known = _MENDS.get(str(error["type"]))
    if known is not None:
        return known
    words = str(error["msg"]).removeprefix("Value error, ")
    if words.startswith("Input should "):
        return "must " + words.removeprefix("Input should ")
    return f"is refused: {words[:1].lower()}{words[1:]}"


def _in_body(loc: Place, body: object, kind: str) -> Place:
    """Drop what Pydantic puts into a location that is not in the document (names of unions)."""
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
