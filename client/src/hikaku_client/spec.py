"""Spec files: a JobSpec as YAML, with shorthands, checked before anything is sent."""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from hikaku_client.errors import Fault, InvalidRequest, SpecError
from hikaku_client.rows import file_type
from hikaku_client.wire import Json
from hikaku_client.yaml_source import Place, Source, parse

_KEYS = (
    "name",
    "project",
    "prompt",
    "rows",
    "rows_file",
    "dataset",
    "endpoints",
    "params",
    "scorers",
    "repeats",
    "baseline",
    "reuse",
    "priority",
    "budget_usd",
    "execution",
    "deadline",
    "tags",
)
_PROMPT_WAYS = ("template", "messages", "id", "name", "request")
_PROMPT_KEYS = ("template", "messages", "id", "name", "version", "request")
_MESSAGE_KEYS = ("role", "content")
_DATASET_KEYS = ("id", "name", "revision")
_ENDPOINT_KEYS = ("name", "params")
_ROLES = ("system", "user", "assistant")
_REUSE = ("off", "read", "write", "on")

_VARIABLE = re.compile(r"\{\{[^\S\n]*+([\w-]++)[^\S\n]*+\}\}")
_MOST_FAULTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecFile:
    """A spec that passed the checks that need no server."""

    source: Source = field(repr=False)
    spec: dict[str, Json]
    """A JobSpec, shorthands written out; without rows when `rows_file` is set."""
    rows_file: Path | None

    def mapped(self, error: InvalidRequest) -> SpecError:
        """Say where in the file the server's complaints belong."""
        found = [(fault.message, self.source.locate(fault.pointer)) for fault in error.faults]
        if not found:
            return SpecError(f"{self.source.path}: {error.message}", status=error.status)
        message = "\n".join(self.source.complaint(text, place) for text, place in found)
        return SpecError(message, status=error.status, code=error.code)


def load(path: Path) -> SpecFile:
    """Read a spec file.

    Raises:
        SpecError: It cannot be read, is not YAML, or something in it is missing, unknown or of
            the wrong kind; names every place.
    """
    source = parse(path)
    faults = list(_faults(source))
    if faults:
        places = [(fault.message, source.locate(fault.pointer)) for fault in faults[:_MOST_FAULTS]]
        raise SpecError("\n".join(source.complaint(text, place) for text, place in places))
    spec = dict(cast("dict[str, Json]", source.value))
    rows_file = spec.pop("rows_file", None)
    spec["prompt"] = _prompt(spec["prompt"])
    if "scorers" in spec:
        spec["scorers"] = [_scorer(item) for item in cast("list[Json]", spec["scorers"])]
    found = None if rows_file is None else path.parent / str(rows_file)
    return SpecFile(source=source, spec=spec, rows_file=found)


def _prompt(value: Json) -> Json:
    match value:
        case str():
            return {"template": value}
        case list():
            return {"messages": value}
        case _:
            return value


def _scorer(value: Json) -> Json:
    return {"type": value} if isinstance(value, str) else value


def _faults(source: Source) -> Iterator[Fault]:
    spec = source.value
    if not isinstance(spec, dict):
        yield Fault(pointer="", message="a spec is a mapping: prompt:, rows:, endpoints: ...")
        return
    unknown = list(_unknown("", spec, _KEYS))
    shape = [*unknown, *_shape(spec, source.path.parent)]
    # What seems to be missing is, as a rule, what is written wrongly.
    yield from (fault for fault in shape if fault.pointer or not unknown)
    if not shape:
        yield from _unfilled(spec)


def _shape(spec: Mapping[str, Json], folder: Path) -> Iterator[Fault]:
    yield from _prompt_faults(spec)
    yield from _rows_faults(spec, folder)
    yield from _endpoint_faults(spec)
    yield from _scorer_faults(spec)
    for key in ("params", "tags"):
        if key in spec and not isinstance(spec[key], dict):
            yield Fault(pointer=f"/{key}", message=f"{key} is a mapping, such as {key}: {{a: b}}")
    for key in ("repeats", "priority"):
        if key in spec and (isinstance(spec[key], bool) or not isinstance(spec[key], int)):
            yield Fault(pointer=f"/{key}", message=f"{key} is a whole number")
    if "reuse" in spec and spec["reuse"] not in _REUSE:
        yield Fault(pointer="/reuse", message=f"reuse is one of {', '.join(_REUSE)}")


def _unknown(pointer: str, value: Mapping[str, Json], known: Sequence[str]) -> Iterator[Fault]:
    for key in value:
        if key not in known:
            mend = _nearest(key, known) or f"known are {', '.join(known)}"
            yield Fault(
                pointer=f"{pointer}/{_escaped(key)}", message=f"unknown key {key!r}; {mend}"
            )


def _nearest(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {found[0]!r}?" if found else ""


def _prompt_faults(spec: Mapping[str, Json]) -> Iterator[Fault]:
    match spec.get("prompt"):
        case None:
            yield Fault(pointer="", message='prompt is missing; add prompt: "... {{column}} ..."')
        case str():
            return
        case list() as messages:
            yield from _message_faults("/prompt", messages)
        case dict() as prompt:
            yield from _unknown("/prompt", prompt, _PROMPT_KEYS)
            given = [key for key in _PROMPT_WAYS if key in prompt]
            if len(given) != 1:
                message = "prompt has exactly one of template, messages, id, name, request"
                yield Fault(pointer="/prompt", message=message)
            if isinstance(written := prompt.get("messages"), list):
                yield from _message_faults("/prompt/messages", written)
            elif "messages" in prompt:
                message = "messages is a list of {role: ..., content: ...}"
                yield Fault(pointer="/prompt/messages", message=message)
        case _:
            yield Fault(
                pointer="/prompt", message="prompt is text, a list of messages or a mapping"
            )


def _message_faults(pointer: str, messages: Sequence[Json]) -> Iterator[Fault]:
    for number, message in enumerate(messages):
        place = f"{pointer}/{number}"
        if not isinstance(message, dict):
            yield Fault(pointer=place, message="a message is {role: ..., content: ...}")
            continue
        yield from _unknown(place, message, _MESSAGE_KEYS)
        if message.get("role") not in _ROLES:
            yield Fault(pointer=f"{place}/role", message=f"role is one of {', '.join(_ROLES)}")
        if not isinstance(message.get("content"), str):
            yield Fault(pointer=f"{place}/content", message="content is text; put it in quotes")


def _rows_faults(spec: Mapping[str, Json], folder: Path) -> Iterator[Fault]:
    given = [key for key in ("rows", "rows_file", "dataset") if key in spec]
    if len(given) != 1:
        place = f"/{given[1]}" if given else ""
        yield Fault(pointer=place, message="give exactly one of rows, rows_file, dataset")
    if "rows" in spec:
        yield from _inline_faults(spec["rows"])
    if "rows_file" in spec:
        yield from _file_faults(spec["rows_file"], folder)
    match spec.get("dataset", {}):
        case dict() as dataset:
            yield from _unknown("/dataset", dataset, _DATASET_KEYS)
        case _:
            message = "dataset is {id: ds_...} or {name: ...}"
            yield Fault(pointer="/dataset", message=message)


def _inline_faults(rows: Json) -> Iterator[Fault]:
    if not isinstance(rows, list) or not rows:
        yield Fault(pointer="/rows", message="rows is a list of mappings: - {column: value}")
        return
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            message = "a row is a mapping: {column: value}"
            yield Fault(pointer=f"/rows/{number}", message=message)


def _file_faults(name: Json, folder: Path) -> Iterator[Fault]:
    if not isinstance(name, str):
        yield Fault(pointer="/rows_file", message="rows_file is a path, relative to this file")
        return
    if not (folder / name).is_file():
        yield Fault(pointer="/rows_file", message=f"there is no file {folder / name}")
        return
    try:
        file_type(Path(name))
    except InvalidRequest as error:
        yield Fault(pointer="/rows_file", message=error.message)


def _endpoint_faults(spec: Mapping[str, Json]) -> Iterator[Fault]:
    endpoints = spec.get("endpoints")
    if not isinstance(endpoints, list) or not endpoints:
        message = "endpoints is a list of names; `hikaku endpoint ls` shows them"
        yield Fault(pointer="/endpoints" if "endpoints" in spec else "", message=message)
        return
    names = []
    for number, endpoint in enumerate(endpoints):
        place = f"/endpoints/{number}"
        match endpoint:
            case str():
                names.append(endpoint)
            case {"name": str(name)}:
                names.append(name)
                yield from _unknown(place, cast("dict[str, Json]", endpoint), _ENDPOINT_KEYS)
            case _:
                yield Fault(
                    pointer=place, message="an endpoint is a name or {name: ..., params: ...}"
                )
    baseline = spec.get("baseline")
    if baseline is not None and baseline not in names:
        message = f"baseline {baseline!r} is none of the endpoints"
        yield Fault(pointer="/baseline", message=f"{message}: {', '.join(names)}")


def _scorer_faults(spec: Mapping[str, Json]) -> Iterator[Fault]:
    scorers = spec.get("scorers", [])
    if not isinstance(scorers, list):
        message = "scorers is a list, such as [exact_match, contains]"
        yield Fault(pointer="/scorers", message=message)
        return
    for number, scorer in enumerate(scorers):
        match scorer:
            case str() | {"type": str()}:
                continue
            case _:
                message = "a scorer is a type or {type: ..., options}"
                yield Fault(pointer=f"/scorers/{number}", message=message)


def _unfilled(spec: Mapping[str, Json]) -> Iterator[Fault]:
    """Variables of the template that a row does not have; the server judges everything else."""
    rows = spec.get("rows")
    variables = dict.fromkeys(_variables(spec["prompt"]))
    if not isinstance(rows, list):
        return
    for number, row in enumerate(rows):
        columns = cast("dict[str, Json]", row)
        for name in variables:
            if columns.get(name) is None:
                mend = _nearest(name, columns) or f"it has {', '.join(columns)}"
                message = f"row {number} has no value for {{{{{name}}}}}; {mend}"
                yield Fault(pointer=f"/rows/{number}", message=message)


def _variables(prompt: Json) -> Iterator[str]:
    match prompt:
        case str():
            yield from _VARIABLE.findall(prompt)
        case {"template": str(template)}:
            yield from _VARIABLE.findall(template)
        case {"messages": list(messages)}:
            yield from _variables(messages)
        case list():
            for message in prompt:
                if isinstance(message, dict):
                    yield from _VARIABLE.findall(str(message.get("content", "")))
        case _:
            return


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


__all__ = ["Place", "SpecFile", "load"]
