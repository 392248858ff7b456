"""What is wrong with a JSON object, where, and how to mend it. Slow and exact; runs on bad rows."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MAX_DEPTH = 32
"""Objects and arrays inside each other."""

_MAX_DIGITS = 400
"""Of an integer; more is not a number anyone meant, and Python refuses to print it."""

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]|[^\s"{}\[\],:]++', re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

UNTERMINATED = "the text that begins here never ends; close the quote"

_MENDS = {
    "Expecting property name enclosed in double quotes": (
        "a key in double quotes is expected here (no comma before the closing brace)"
    ),
    "Illegal trailing comma before end of object": "remove the comma before the closing brace",
    "Illegal trailing comma before end of array": "remove the comma before the closing bracket",
    "Expecting ':' delimiter": "a colon is expected after the key",
    "Expecting ',' delimiter": "a comma or a closing bracket is missing before this",
    "Expecting value": "a value is expected here: text in double quotes, a number, true, null",
    "Extra data": "the object has ended; put the next one on a line of its own",
    "Invalid control character at": "write a line break or tab inside text as \\n or \\t",
    "Invalid \\escape": "write a backslash inside text as \\\\",
    "Invalid \\uXXXX escape": "\\u needs four hexadecimal digits",
    "Unterminated string starting at": UNTERMINATED,
}


@dataclass(frozen=True, slots=True)
class FaultAt:
    """One fault and the index of the character it stands at."""

    position: int
    message: str


@dataclass(slots=True)
class _Open:
    """An object (or array) that is being read; `keys` of an array stay empty."""

    is_object: bool
    expects_key: bool
    keys: set[str] = field(default_factory=set)


def find(text: str) -> FaultAt | None:
    """Find the first thing that makes `text` unfit to be a row; None when it is fit."""
    try:
        value = json.loads(text, parse_int=str, parse_constant=str)
    except json.JSONDecodeError as error:
        return FaultAt(error.pos, _MENDS.get(error.msg, error.msg))
    except RecursionError:
        return next(_faults(text))
    start = len(text) - len(text.lstrip())
    if not isinstance(value, dict):
        return FaultAt(start, 'a row is a JSON object, such as {"question": "..."}')
    if not value:
        return FaultAt(start, "the row has no columns")
    return next(_faults(text), None)


def _faults(text: str) -> Iterator[FaultAt]:
    """Walk over the tokens of text whose syntax is sound as far as it was read."""
    stack: list[_Open] = []
    for match in _TOKEN.finditer(text):
        written = match[0]
        message = None
        match written[0]:
            case "{" | "[" as bracket:
                stack.append(_Open(is_object=bracket == "{", expects_key=bracket == "{"))
                message = _too_deep(stack)
            case "}" | "]":
                stack.pop()
            case ",":
                stack[-1].expects_key = stack[-1].is_object
            case '"':
                message = _fault_of_string(json.loads(written), stack[-1])
            case _:
                message = _fault_of_literal(written)
        if message is not None:
            yield FaultAt(match.start(), message)


def _too_deep(stack: list[_Open]) -> str | None:
    return f"nested deeper than {MAX_DEPTH} levels" if len(stack) > MAX_DEPTH else None


def _fault_of_string(value: str, opened: _Open) -> str | None:
    if bad := _UNSTORABLE.search(value):
        number = ord(bad[0])
        what = "half of a surrogate pair" if number else "the character NUL"
        return f"{what} (U+{number:04X}) cannot be stored; remove it"
    if opened.expects_key:
        opened.expects_key = False
        if value in opened.keys:
            return f"key {value!r} stands twice in the same object; keep one"
        opened.keys.add(value)
    return None


def _fault_of_literal(written: str) -> str | None:
    if written in {"NaN", "Infinity", "-Infinity"}:
        return f"{written} is not JSON; write null, or leave the key out"
    if written in {"true", "false", "null", ":"}:
        return None
    if len(written) > _MAX_DIGITS and written.lstrip("-").isdigit():
        return f"a number of {len(written)} digits; write it as text"
    if math.isinf(float(written)):
        return f"{written[:40]} is too large for a number; write it as text"
    return None
