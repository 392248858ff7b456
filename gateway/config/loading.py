"""Reads the file and puts a `Catalog` together: entries one by one, then what joins them."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from gateway.config.accounts import joined
from gateway.config.catalog import Catalog, Endpoint, TrafficRoute
from gateway.config.complaints import invalid, nearest
from gateway.config.indentation import TOP_LEVEL
from gateway.config.resolving import endpoint
from gateway.config.schema import EndpointEntry, RouteEntry, TrafficEntry, entry_model
from gateway.config.secrets import Resolver
from gateway.config.source import Path as Place
from gateway.config.source import Source, read
from gateway.config.vendors import VENDORS
from gateway.errors import ConfigError

Entries = dict[str, tuple[Place, EndpointEntry | RouteEntry | TrafficEntry]]
"""By name, in the order of the file."""


def load(path: Path | str, environ: Mapping[str, str]) -> Catalog:
    """Read a configuration file.

    Raises:
        ConfigError: The file cannot be read or used; the message shows where and how to mend it.
    """
    path = Path(path)
    return parse(text_of(path), environ, name=path.name, folder=path.parent)


def text_of(path: Path) -> str:
    """The file's text.

    Raises:
        ConfigError: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start})") from error


def parse(
    text: str, environ: Mapping[str, str], *, name: str = "gateway.yaml", folder: Path | None = None
) -> Catalog:
    """Read configuration text; see `load`."""
    source = read(text, name)
    resolver = Resolver(environ, folder or Path())
    endpoints: dict[str, Endpoint] = {}
    routes: dict[str, TrafficRoute] = {}
    entries = _entries(source)
    for path, parsed in entries.values():
        if isinstance(parsed, TrafficEntry):
            routes[parsed.name] = _traffic(parsed)
        else:
            endpoints[parsed.name] = endpoint(source, path, parsed, resolver)
    _check_destinations(source, entries, endpoints)
    _check_fallbacks(source, entries, endpoints)
    endpoints = joined(source, {name: path for name, (path, _) in entries.items()}, endpoints)
    warnings = tuple(_warnings(endpoints.values()))
    files = tuple(dict.fromkeys(resolver.files))
    return Catalog(endpoints=endpoints, routes=routes, warnings=warnings, files=files)


def _entries(source: Source) -> Entries:
    found: Entries = {}
    for path, entry in _mappings(source):
        parsed = _validated(source, path, entry)
        if parsed.name in found:
            place = source.place((*path, "name"))
            raise source.error(place, f"the name `{parsed.name}` is taken by an entry above")
        found[parsed.name] = path, parsed
    return found


def _mappings(source: Source) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    if source.value is None:
        return
    if not isinstance(source.value, dict):
        raise source.error(source.place(()), "the file must hold `endpoints:` or `routes:`")
    lists = cast("dict[object, object]", source.value)
    for key in lists:
        if key not in TOP_LEVEL:
            place = source.place((str(key),))
            message = f"unknown key `{key}`; {nearest(str(key), TOP_LEVEL)}"
            raise source.misplaced() or source.error(place, message)
    for key, entries in lists.items():
        if not isinstance(entries, list):
            raise source.error(source.place((str(key),)), f"`{key}` must be a list of entries")
        for index, entry in enumerate(cast("list[object]", entries)):
            path = (str(key), index)
            if not isinstance(entry, dict):
                raise source.error(source.place(path), "an entry must be a mapping with a `name`")
            yield path, cast("dict[str, Any]", entry)


def _validated(
    source: Source, path: tuple[str, int], entry: dict[str, Any]
) -> EndpointEntry | RouteEntry | TrafficEntry:
    model = entry_model(path[0], entry)
    try:
        return model.model_validate(entry)
    except ValidationError as error:
        raise invalid(source, path, error, model) from error


def _traffic(entry: TrafficEntry) -> TrafficRoute:
    shares = tuple((d.name, d.share) for d in entry.destinations)
    return TrafficRoute(
        name=entry.name, endpoint_type=entry.task_type, shares=shares, sticky=entry.sticky
    )


def _check_destinations(
    source: Source, entries: Entries, endpoints: Mapping[str, Endpoint]
) -> None:
    for path, entry in entries.values():
        if not isinstance(entry, TrafficEntry):
            continue
        for index, destination in enumerate(entry.destinations):
            place = (*path, "destinations", index, "name")
            _check_leads(source, place, endpoints, entry.name, destination.name)
            kind = endpoints[destination.name].endpoint_type
            if kind != entry.task_type:
                message = f"`{destination.name}` is {kind}, not {entry.task_type}"
                raise source.error(source.place(place), message)


def _check_fallbacks(source: Source, entries: Entries, endpoints: Mapping[str, Endpoint]) -> None:
    for asked in endpoints.values():
        for index, fallback in enumerate(asked.fallback):
            place = (*entries[asked.name][0], "fallback", index)
            _check_leads(source, place, endpoints, asked.name, fallback.endpoint)
            other = endpoints[fallback.endpoint]
            if other is asked:
                raise source.error(source.place(place), f"`{asked.name}` falls back to itself")
            if other.endpoint_type != asked.endpoint_type:
                message = f"`{other.name}` is {other.endpoint_type}, not {asked.endpoint_type}"
                raise source.error(source.place(place), message)


def _check_leads(
    source: Source, place: Place, endpoints: Mapping[str, Endpoint], start: str, end: str
) -> None:
    if end not in endpoints:
        hint = nearest(end, endpoints)
        message = f"`{start}` leads to no endpoint `{end}`; {hint}"
        raise source.error(source.place(place), message)


def _warnings(endpoints: Iterable[Endpoint]) -> Iterator[str]:
    for found in endpoints:
        if found.unavailable is not None:
            yield f"the endpoint `{found.name}` is unavailable: {found.unavailable}"
        if (farewell := VENDORS[found.provider].farewell(found.model)) is not None:
            yield f"the endpoint `{found.name}`: {farewell}"
        if found.budget is not None and found.price is None:
            yield f"the endpoint `{found.name}` has a `budget` but no `price`: nothing is counted"
