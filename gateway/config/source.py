"""YAML text to plain values, with the place of every key for messages that show it."""

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.resolver import Resolver

from gateway.config.indentation import misplaced_key
from gateway.errors import ConfigError

_CORE = "tag:yaml.org,2002:"
_TAGS = frozenset(
    _CORE + kind for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge", "value")
)
_FLOAT = _CORE + "float"
_NAMED = re.compile(
    r"(?i)([\w\-]*(?:_api_|key|token|secret|passw|credential)[\w\-]*[\"']?\s*:\s+[\"']?)"
    r"(?!\$|env:|file:)([^\s\"',}\]#]+)"
)
"""A setting that is a key by its name, and a value that does not say where one is kept."""
_FORMED = re.compile(
    r"\b(?:sk-|gsk_|xai-|AIza|hf_|dapi|AKIA|ASIA|pplx-|nvapi-|fw_|csk-|eyJ)[\w\-.]{8,}"
)
"""A key by its form, wherever it stands."""
_ADDRESSED = re.compile(r"(://)[^\s/@]+@")

Path = tuple[str | int, ...]
"""Keys and indexes from the top of the file to a value."""
_DEEPEST = 50
_MOST = 1_000_000
"""Values of a file, where aliases repeat what stands once; ten thousand endpoints have fewer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value or key begins; both from 1."""

    line: int
    column: int


@dataclass(slots=True)
class Source:
    """A parsed file that remembers where everything stood."""

    name: str
    text: str
    value: object = None
    places: dict[Path, Place] = field(default_factory=dict[Path, Place])

    def place(self, path: Path) -> Place:
        """Where `path` is, or the nearest thing around it that the file has."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(1, 1))

    def error(self, place: Place, message: str, *, mended: str | None = None) -> ConfigError:
        """An error that shows the line it is about, and how it should read."""
        lines = self.text.splitlines() or [""]
        shown = without_keys(lines[min(place.line, len(lines)) - 1])
        margin = f"{place.line:>5} | "
        pointer = " " * (len(margin) - 2) + "| " + " " * (place.column - 1) + "^"
        mend = f"\nwrite it so:\n{margin}{without_keys(mended)}" if mended is not None else ""
        return ConfigError(
            f"{self.name}, line {place.line}, column {place.column}: {message}\n"
            f"{margin}{shown}\n{pointer}{mend}",
            line=place.line,
            column=place.column,
        )

    def misplaced(self) -> ConfigError | None:
        """The error for a key that stands under the dash of its entry; None when none does."""
        if (found := misplaced_key(self.text)) is None:
            return None
        message = (
            f"`{found.key}` stands under the `-` of the entry that begins in line"
            f" {found.entry_line}, and so belongs to nothing. The keys of one entry start in one"
            " column: indent this line as far as the key after the `-`, and so the entry's other"
            " lines"
        )
        return self.error(Place(found.line, found.column), message, mended=found.mended)


def without_keys(line: str) -> str:
    """A line of the file as it may be shown: what it says reaches logs and the API."""
    line = _NAMED.sub(r"\1***", _FORMED.sub("***", line))
    return _ADDRESSED.sub(r"\1***@", line)


def read(text: str, name: str) -> Source:
    """Parse YAML.

    Raises:
        ConfigError: It is not YAML, or a key stands twice in one mapping.
    """
    source = Source(name, text)
    try:
        try:
            _parse(source, _Fast(text))
        except yaml.YAMLError:  # The fast parser is short of words.
            source.places.clear()
            _parse_carefully(source)
    except RecursionError:  # From the parser itself, before there is anything to measure.
        raise source.error(Place(1, 1), f"nested more than {_DEEPEST} deep") from None
    return source


class _PlainDates(Resolver):
    """Dates stay text, as YAML 1.2 and editors have it: `openai_api_version: 2023-05-15`."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - how YAML's resolvers are made
        first: [(tag, regexp) for tag, regexp in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in Resolver.yaml_implicit_resolvers.items()
    }


class _Careful(_PlainDates, yaml.SafeLoader):
    """Python all the way: slow, and with words for what is wrong."""


if TYPE_CHECKING or not yaml.__with_libyaml__:
    _Fast = _Careful
else:
    from yaml.cyaml import CParser

    class _Fast(Composer, CParser, SafeConstructor, _PlainDates):
        """libyaml finds the tokens, Python puts them together.

        A large file is read beside running calls. libyaml alone would be faster still, and would
        not let another thread run before it is through: 0.1 s at a thousand endpoints.
        """

        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            Composer.__init__(self)
            SafeConstructor.__init__(self)
            _PlainDates.__init__(self)


def _parse(source: Source, loader: yaml.SafeLoader) -> None:
    try:
        node = loader.get_single_node()
        if node is not None:
            _walk(source, node, ())
            # One loader for both: the node tree is built once and constructed as it stands.
            source.value = loader.construct_document(node)
    finally:
        loader.dispose()


def _parse_carefully(source: Source) -> None:
    text = source.text
    try:
        _parse(source, _Careful(text))
    except yaml.MarkedYAMLError as error:
        raise (source.misplaced() or _broken(source, error)) from error
    except yaml.reader.ReaderError as error:
        message = f"a character that YAML does not allow (#x{error.character:04x})"
        place = _place_of_offset(text, error.position)
        raise source.error(place, message) from error


def _walk(source: Source, node: yaml.Node, path: Path) -> None:
    source.places.setdefault(path, _place(node.start_mark))
    if len(path) > _DEEPEST:
        message = f"nested more than {_DEEPEST} deep, or an alias inside of what it stands for"
        raise source.error(_place(node.start_mark), message)
    if len(source.places) > _MOST:
        raise source.error(_place(node.start_mark), f"aliases make more than {_MOST} values")
    if node.tag not in _TAGS or (node.tag == _FLOAT and not _is_finite(str(node.value))):
        raise source.error(_place(node.start_mark), "not a value that JSON has")
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(source, item, (*path, index))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(key.value)
            if (*path, name) in source.places and name != "<<":
                raise source.error(_place(key.start_mark), f"the key `{name}` stands here twice")
            source.places[*path, name] = _place(key.start_mark)
            _walk(source, value, (*path, name))


def _is_finite(number: str) -> bool:
    text = number.replace("_", "").lower()
    try:
        return math.isfinite(float(text))
    except ValueError:
        return text.lstrip("+-") not in {".inf", ".nan"}  # What is left is sexagesimal.


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _place_of_offset(text: str, offset: int) -> Place:
    before = text[:offset]
    return Place(before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)


def _broken(source: Source, error: yaml.MarkedYAMLError) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    place = _place(mark) if mark is not None else Place(1, 1)
    return source.error(place, f"not valid YAML: {error.problem or error.context}.{_mend(error)}")


def _mend(error: yaml.MarkedYAMLError) -> str:
    """A hint for the mistakes that configuration files of gateways are known for."""
    problem = error.problem or ""
    if "cannot start any token" in problem and "\\t" in problem:
        return " YAML indents by spaces; replace the tab"
    if "expected <block end>" in problem:
        return " Check the indentation: this line stands in a column in which nothing else does"
    if "mapping values are not allowed" in problem:
        return " Check the indentation, or quote the value that holds a `:`"
    return ""
