"""Prompt templates: find the `{{variables}}`, and put the values of a row in their places.

Substitution is literal and made in one pass. There is no expression language: `{{ 7*7 }}` and
`{{ x.y }}` are text like any other, and braces inside a value are never looked at again.
"""

import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from hikaku.errors import Fault, InvalidInput

MAX_TEMPLATE_CHARACTERS = 1_000_000
"""Characters in all messages of a template together."""

MAX_RENDERED_CHARACTERS = 4_000_000
"""Characters in all messages of one rendered prompt together."""

MAX_VARIABLES = 200
"""Different variables in one template."""

# Possessive throughout: a long run of blanks after `{{` must not cost quadratic time.
_BRACES = re.compile(r"\{\{[^\S\n]*+([^\s{}]*+)[^\S\n]*+\}\}")
_FULL_WIDTH = re.compile(r"[{｛]{2}[^\S\n]*+([^\s{}｛｝]++)[^\S\n]*+[}｝]{2}")
_RUN_OF_BRACES = re.compile(r"\{{2,}+|\}{2,}+")
_MOST_FAULTS = 20
_MOST_COLUMNS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateMessage:
    """One message as its author wrote it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message as a model receives it."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str


_Parts = tuple[str | _Variable, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A parsed prompt template; `parse` makes it."""

    messages: tuple[TemplateMessage, ...]
    variables: tuple[str, ...]
    """Names in order of first appearance, each once."""
    parts: tuple[_Parts, ...] = field(repr=False, compare=False)
    """Text and variables of each message, in order."""

    def render(self, variables: Mapping[str, object], *, row: int) -> tuple[Message, ...]:
        """Put the row's values in the places of the variables.

        Text goes in as it is; any other JSON value as JSON with its characters unescaped.

        Raises:
            InvalidInput: The row lacks a variable or holds null for it, or the prompt is too long.
        """
        values = {name: _written(variables, name, row) for name in self.variables}
        messages = tuple(
            Message(role=message.role, content="".join(_filled(parts, values)))
            for message, parts in zip(self.messages, self.parts, strict=True)
        )
        length = sum(len(message.content) for message in messages)
        if length > MAX_RENDERED_CHARACTERS:
            limit = f"the limit is {MAX_RENDERED_CHARACTERS:,}"
            raise _refused(f"the prompt of row {row} has {length:,} characters; {limit}", row)
        return messages


def parse(messages: Sequence[tuple[str, str]]) -> Template:
    """Read the (role, content) pairs of a prompt template.

    A variable is `{{name}}`: letters, marks and digits of any script, `_` and `-`; blanks
    around the name do not count, case does.

    Raises:
        InvalidInput: A `{{` is never closed, a name is missing, braces are full-width, or the
            template is too large; one fault each, pointing at `/messages/N/content`.
    """
    faults = list(islice(_faults(messages), _MOST_FAULTS))
    if faults:
        raise InvalidInput(faults[0].message, faults=faults)
    parts = tuple(tuple(_split(content)) for _, content in messages)
    names = (part.name for line in parts for part in line if isinstance(part, _Variable))
    variables = tuple(dict.fromkeys(names))
    if len(variables) > MAX_VARIABLES:
        message = f"the template has {len(variables)} variables; the limit is {MAX_VARIABLES}"
        raise InvalidInput(message, faults=[Fault(pointer="/messages", message=message)])
    written = tuple(TemplateMessage(role=role, content=content) for role, content in messages)
    return Template(messages=written, variables=variables, parts=parts)


NOTHING = Template(messages=(), variables=(), parts=())
"""The template of rows that are whole requests: it is never rendered."""


def is_name(text: str) -> bool:
    """Whether `text` can stand between the braces as the name of a variable."""
    return bool(text) and all(c in "_-" or unicodedata.category(c)[0] in "LMN" for c in text)


def _faults(messages: Sequence[tuple[str, str]]) -> Iterator[Fault]:
    if not messages:
        yield Fault(pointer="/messages", message="a prompt template needs at least one message")
    length = sum(len(content) for _, content in messages)
    if length > MAX_TEMPLATE_CHARACTERS:
        limit = f"the limit is {MAX_TEMPLATE_CHARACTERS:,}"
        yield Fault(pointer="/messages", message=f"the template has {length:,} characters; {limit}")
        return
    for number, (_, content) in enumerate(messages):
        for message in _complaints(content):
            yield Fault(pointer=f"/messages/{number}/content", message=message)


def _complaints(content: str) -> Iterator[str]:
    for character, position in _unstorable(content):
        yield f"{character} at {_place(content, position)} cannot be stored; remove it"
    for match in _FULL_WIDTH.finditer(content):
        name = match[1]
        if is_name(name) and ("｛" in match[0] or "｝" in match[0]):
            place = _place(content, match.start())
            yield f"{match[0]} at {place} has full-width braces; write {{{{{name}}}}}"
    for match in _BRACES.finditer(content):
        if not match[1]:
            place = _place(content, match.start())
            yield f"{match[0]} at {place} has no name; write {{{{name}}}}"
    for position in _unclosed(content):
        rest = content[position : position + 20]
        yield f"{rest!r} at {_place(content, position)} opens a variable that no }}}} closes"


def _unclosed(content: str) -> Iterator[int]:
    opened: int | None = None
    for match in _RUN_OF_BRACES.finditer(content):
        if opened is not None and match[0][0] == "{":
            yield opened
        opened = match.start() if match[0][0] == "{" else None
    if opened is not None:
        yield opened


def _unstorable(content: str) -> Iterator[tuple[str, int]]:
    for match in re.finditer("[\x00\ud800-\udfff]", content):
        yield f"U+{ord(match[0]):04X}", match.start()


def _place(content: str, position: int) -> str:
    line = content.count("\n", 0, position) + 1
    column = position - content.rfind("\n", 0, position)
    return f"line {line}, column {column}"


def _split(content: str) -> Iterator[str | _Variable]:
    end = 0
    for match in _BRACES.finditer(content):
        if is_name(match[1]):
            yield content[end : match.start()]
            yield _Variable(match[1])
            end = match.end()
    yield content[end:]


def _filled(parts: _Parts, values: Mapping[str, str]) -> Iterator[str]:
    for part in parts:
        yield part if isinstance(part, str) else values[part.name]


def _written(variables: Mapping[str, object], name: str, row: int) -> str:
    value = variables.get(name)
    if isinstance(value, str):
        return value
    if value is None:
        raise _missing(variables, name, row)
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise _refused(
            f"row {row} holds a value for {{{{{name}}}}} that is not JSON", row
        ) from error


def _missing(variables: Mapping[str, object], name: str, row: int) -> InvalidInput:
    if name in variables:
        message = f"row {row} holds null for {{{{{name}}}}}; give it a value"
    else:
        there = ", ".join(islice(variables, _MOST_COLUMNS_SHOWN))
        there += ", ..." if len(variables) > _MOST_COLUMNS_SHOWN else ""
        message = f"row {row} has no {{{{{name}}}}}; its columns are: {there or '(none)'}"
        message += _nearest(name, variables)
    return _refused(message, row)


def _refused(message: str, row: int) -> InvalidInput:
    return InvalidInput(message, faults=[Fault(pointer=f"/rows/{row}", message=message)])


def _nearest(name: str, columns: Iterable[str]) -> str:
    """Name the column that was probably meant: same letters in another spelling, or nearly so."""
    folded = {unicodedata.normalize("NFKC", column).casefold(): column for column in columns}
    wanted = unicodedata.normalize("NFKC", name).casefold()
    for match in difflib.get_close_matches(wanted, folded, n=1, cutoff=0.75):
        if match == wanted:
            return f". {folded[match]!r} is another spelling: names are compared exactly"
        return f". Did you mean {folded[match]!r}?"
    return ""
