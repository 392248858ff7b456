"""YAML whose every value remembers its line and column."""

import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import yaml

from hikaku_client.errors import SpecError
from hikaku_client.wire import Json

_CARET_INDENT = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line and column, both from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A YAML file: what it says and where it says it."""

    path: Path
    lines: list[str] = field(repr=False)
    node: yaml.Node = field(repr=False)
    value: Json

    def locate(self, pointer: str) -> Place:
        """Find the place of a JSON pointer, or of the nearest thing around it that exists.

        What a shorthand left out (`/prompt/template` of `prompt: "..."`) is where it was left out.
        An unknown key's own place is its key, not its value.
        """
        node, mark = self.node, self.node.start_mark
        for step in pointer.split("/")[1:]:
            found = _step(node, step.replace("~1", "/").replace("~0", "~"))
            if found is None:
                break
            node, mark = found
        return Place(line=mark.line + 1, column=mark.column + 1)

    def complaint(self, message: str, place: Place) -> str:
        """Write `file:line:column: message` and the line itself with a mark under the column."""
        head = f"{self.path}:{place.line}:{place.column}: {message}"
        if place.line > len(self.lines):
            return head
        return f"{head}\n{_pointed(self.lines[place.line - 1], place)}"


def parse(path: Path) -> Source:
    """Read a YAML file of the core schema: yes, no, on, off, dates and 007 are text.

    Raises:
        SpecError: It cannot be read, is not UTF-8 or not YAML, or a key is there twice.
    """
    text = _read(path)
    lines = text.splitlines()
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            raise SpecError(f"{path}:1:1: the file is empty")
        value = cast("Json", loader.construct_document(node))
    except yaml.MarkedYAMLError as error:
        raise _broken(path, lines, error) from error
    finally:
        loader.dispose()
    return Source(path=path, lines=lines, node=node, value=value)


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpecError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    if strange := re.search(
        "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text
    ):
        line = text.count("\n", 0, strange.start()) + 1
        column = strange.start() - text.rfind("\n", 0, strange.start())
        raise SpecError(f"{path}:{line}:{column}: U+{ord(strange[0]):04X} is not allowed in YAML")
    return text


def _broken(path: Path, lines: list[str], error: yaml.MarkedYAMLError) -> SpecError:
    mark = error.problem_mark or error.context_mark
    message = ", ".join(part for part in (error.context, error.problem) if part)
    if error.context:  # PyYAML's own complaints; ours say the mend themselves
        message += "; text that holds any of : # ? , { } [ ] belongs in quotes"
    if mark is None:
        return SpecError(f"{path}: {message}")
    place = Place(line=mark.line + 1, column=mark.column + 1)
    head = f"{path}:{place.line}:{place.column}: {message}"
    if place.line > len(lines):
        return SpecError(head)
    return SpecError(f"{head}\n{_pointed(lines[place.line - 1], place)}")


def _pointed(line: str, place: Place) -> str:
    width = len(str(place.line))
    # The mark stands under its column whatever the width of the letters before it.
    before = "".join("\u3000" if _is_wide(letter) else " " for letter in line[: place.column - 1])
    return f"  {place.line} | {line}\n  {' ' * width} | {before}^"


def _is_wide(letter: str) -> bool:
    return unicodedata.east_asian_width(letter) in {"W", "F"}


def _step(node: yaml.Node, step: str) -> tuple[yaml.Node, yaml.Mark] | None:
    if isinstance(node, yaml.SequenceNode):
        if step.isdecimal() and int(step) < len(node.value):
            child = node.value[int(step)]
            return child, child.start_mark
        return None
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return value, key.start_mark
    return None


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2, and no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"<<\Z"), ["<"])
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""]
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(?:0|[1-9][0-9]*)\Z"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?\Z"),
    list("-+.0123456789"),
)


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Json]:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key is text", problem_mark=key.start_mark)
        if key.value in seen and key.value != "<<":
            problem = f"the key {key.value!r} is there twice"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
        seen.add(key.value)
    loader.flatten_mapping(node)
    return {
        str(key.value): cast("Json", loader.construct_object(value, deep=True))
        for key, value in node.value
    }


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
