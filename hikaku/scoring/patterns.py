"""Regular expressions of users: RE2, in linear time, made to know more than ASCII.

RE2 reads backslash-w, -d and -s as ASCII. They are written out as Unicode classes before RE2
sees them. What cannot be written out is refused with a mend, never read as something else.
"""

from collections.abc import Iterator
from typing import Any

import re2

MAX_PATTERN_CHARACTERS = 5_000

_CLASSES = {
    "w": r"\p{L}\p{M}\p{N}_",
    "d": r"\p{Nd}",
    "s": r"\s\x{0B}\x{85}\p{Z}",
}
_NO_BOUNDARY = (
    "knows only ASCII in RE2, so it sees no end of a word in 日本語; "
    "write the neighbours out, such as (?:^|\\W)(word)(?:\\W|$), or set ascii: true"
)


def compiled(pattern: str, *, ascii_only: bool) -> Any:  # noqa: ANN401 - re2 has no types
    """Compile a pattern for RE2.

    Args:
        pattern: RE2 syntax.
        ascii_only: Leave backslash-w, -d, -s and -b to RE2, which means ASCII by them.

    Raises:
        ValueError: The pattern is not RE2's, or asks for what RE2 cannot do; says the mend.
    """
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise ValueError(f"the pattern is longer than {MAX_PATTERN_CHARACTERS:,} characters")
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern if ascii_only else unicode_aware(pattern), options)
    except re2.error as error:
        raise ValueError(_explained(error)) from error
    except UnicodeEncodeError as error:
        raise ValueError("the pattern holds half of a surrogate pair") from error


def unicode_aware(pattern: str) -> str:
    """Write out the classes that RE2 reads as ASCII.

    Raises:
        ValueError: A word boundary or a negated class stands where it cannot be written out.
    """
    return "".join(_translated(pattern))


def _translated(pattern: str) -> Iterator[str]:
    position = 0
    while position < len(pattern):
        if pattern.startswith(r"\Q", position):
            end = pattern.find(r"\E", position)
            end = len(pattern) if end < 0 else end + 2
            yield pattern[position:end]
        elif pattern[position] == "\\":
            end = position + 2
            yield _outside(pattern[position + 1 : end])
        elif pattern[position] == "[":
            end = _end_of_class(pattern, position)
            yield _class(pattern[position:end])
        else:
            end = position + 1
            yield pattern[position]
        position = end


def _outside(letter: str) -> str:
    """Translate an escape that stands outside of brackets."""
    if letter in {"b", "B"}:
        raise ValueError(f"\\{letter} {_NO_BOUNDARY}")
    if letter == "C":
        raise ValueError("\\C matches half a character; write . or (?s:.)")
    if letter in _CLASSES:
        return f"[{_CLASSES[letter]}]"
    if letter.lower() in _CLASSES:
        return f"[^{_CLASSES[letter.lower()]}]"
    return f"\\{letter}"


def _end_of_class(pattern: str, start: int) -> int:
    """Give the index after the bracket that closes the one at `start`; the end if none does."""
    position = start + 1
    if pattern.startswith("^", position):
        position += 1
    if pattern.startswith("]", position):
        position += 1
    while position < len(pattern) and pattern[position] != "]":
        if pattern[position] == "\\":
            position += 2
        elif pattern.startswith("[:", position) and ":]" in pattern[position:]:
            position = pattern.index(":]", position) + 2
        else:
            position += 1
    return min(position + 1, len(pattern))


def _class(written: str) -> str:
    """Translate a class in brackets."""
    escapes = {written[i + 1] for i in _escapes(written)}
    for letter in _CLASSES:
        if {letter, letter.upper()} <= escapes:  # as in [\s\S]
            if written.startswith("[^"):
                raise ValueError(f"{written} matches nothing at all")
            return "(?s:.)"
    parts, end = [], 0
    for start in _escapes(written):
        parts += [written[end:start], _inside(written[start + 1])]
        end = start + 2
    return "".join([*parts, written[end:]])


def _escapes(written: str) -> Iterator[int]:
    position = written.find("\\")
    while 0 <= position < len(written) - 1:
        yield position
        position = written.find("\\", position + 2)


def _inside(letter: str) -> str:
    """Translate an escape that stands inside of brackets."""
    if letter == "D":
        return r"\P{Nd}"
    if letter in {"W", "S"}:
        raise ValueError(
            f"\\{letter} inside [...] cannot be made to know more than ASCII; write what may stand "
            f"there, such as \\p{{P}}, or \\{letter} outside of brackets, or set ascii: true"
        )
    return _CLASSES.get(letter, f"\\{letter}")


def _explained(error: Exception) -> str:
    (reason,) = error.args
    message = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
    if "perl operator" in message or r"escape sequence: \1" in message:
        message += "; RE2 knows neither lookaround nor backreferences"
    return f"RE2 cannot read the pattern: {message}"
