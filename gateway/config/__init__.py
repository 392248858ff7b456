"""The YAML of endpoints (MLflow 2.8 `routes:`, 2.9-3.x `endpoints:`, ours) to a `Catalog`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from gateway.config.catalog import Catalog, Endpoint, TrafficRoute
from gateway.config.resolving import endpoint, invalid, nearest
from gateway.config.schema import (
    CallLimit,
    EndpointEntry,
    Limits,
    Price,
    Retry,
    RouteEntry,
    Timeouts,
    TrafficEntry,
    entry_model,
)
from gateway.config.secrets import Resolver
from gateway.config.source import Source, read
from gateway.config.vendors import Wire
from gateway.errors import ConfigError

__all__ = [
    "CallLimit",
    "Catalog",
    "Endpoint",
    "Limits",
    "Price",
    "Retry",
    "Timeouts",
    "TrafficRoute",
    "Wire",
    "load",
    "parse",
]

_LISTS = ("endpoints", "routes")


def load(path: Path | str, environ: Mapping[str, str]) -> Catalog:
    """Read a configuration file.

    Raises:
        ConfigError: The file cannot be read or used; the message shows where and how to mend it.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 (byte {error.start})") from error
    return parse(text, environ, name=path.name, folder=path.parent)


def parse(
    text: str, environ: Mapping[str, str], *, name: str = "gateway.yaml", folder: Path | None = None
) -> Catalog:
    """Read configuration text; see `load`."""
    source = read(text, name)
    resolver = Resolver(environ, folder or Path())
    endpoints: dict[str, Endpoint] = {}
    routes: dict[str, TrafficRoute] = {}
    for path, entry in _entries(source):
        parsed = _validated(source, path, entry)
        if parsed.name in endpoints or parsed.name in routes:
            place = source.place((*path, "name"))
            raise source.error(place, f"the name `{parsed.name}` is taken by an entry above")
        if isinstance(parsed, TrafficEntry):
            routes[parsed.name] = _traffic(parsed)
        else:
            endpoints[parsed.name] = endpoint(source, path, parsed, resolver)
    _check_destinations(source, endpoints, routes)
    return Catalog(endpoints=endpoints, routes=routes)


def _entries(source: Source) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    if source.value is None:
        return
    if not isinstance(source.value, dict):
        raise source.error(source.place(()), "the file must hold `endpoints:` or `routes:`")
    for key, entries in cast("dict[object, object]", source.value).items():
        if key not in _LISTS:
            place = source.place((str(key),))
            raise source.error(place, f"unknown key `{key}`; {nearest(str(key), _LISTS)}")
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
    shares = tuple((d.name, d.traffic_percentage) for d in entry.destinations)
    return TrafficRoute(name=entry.name, endpoint_type=entry.task_type, shares=shares)


def _check_destinations(
    source: Source, endpoints: Mapping[str, Endpoint], routes: Mapping[str, TrafficRoute]
) -> None:
    paths = {str(entry.get("name")): path for path, entry in _entries(source)}
    for route in routes.values():
        for index, (name, _) in enumerate(route.shares):
            place = source.place((*paths[route.name], "destinations", index, "name"))
            if name not in endpoints:
                hint = nearest(name, endpoints)
                raise source.error(place, f"`{route.name}` leads to no endpoint `{name}`; {hint}")
            if endpoints[name].endpoint_type != route.endpoint_type:
                kind = endpoints[name].endpoint_type
                raise source.error(place, f"`{name}` is {kind}, not {route.endpoint_type}")
