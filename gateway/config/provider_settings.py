"""`model.config` of one entry: look-ups, validation, and what of it is secret or identity."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from gateway.config.complaints import invalid, models_in, nearest
from gateway.config.secrets import MissingSecretError, Resolver
from gateway.config.source import Path, Source
from gateway.config.vendor_settings import Settings
from gateway.config.vendors import Found, Vendor, unprefixed
from gateway.types import JSON


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings of one entry after look-ups."""

    public: dict[str, JSON]
    identity: dict[str, JSON]
    secrets: dict[str, str]
    missing: str | None


def provider_settings(
    source: Source,
    path: Path,
    vendor: Vendor,
    *,
    provider: str,
    config: Mapping[str, Any],
    resolver: Resolver,
    lost: str | None = None,
) -> Resolved:
    """Look up, check and divide; `lost` is what was missing before.

    Raises:
        ConfigError: A setting is not known or not valid. One that is missing is no error.
    """
    if vendor.settings is None:
        return Resolved({}, {}, {}, lost)
    spelling = {unprefixed(provider, key): key for key in config}
    inside = (*path, "model", "config")
    for name, key in spelling.items():
        if name not in vendor.settings.model_fields:
            prefix = key.removesuffix(name)
            hint = nearest(key, [prefix + known for known in vendor.settings.model_fields])
            raise source.error(source.place((*inside, key)), f"unknown key `{key}`; {hint}")
    look_up = _LookUp(resolver, [lost] if lost else [])
    given = {
        name: look_up.value(config[key], (vendor.settings,), name, key)
        for name, key in spelling.items()
    }
    for name, find in vendor.found.items():
        look_up.add(name, find, given)
    missing = "; ".join(look_up.missing) or None
    try:
        return _divided(vendor.settings.model_validate(_present(given)), missing)
    except ValidationError as error:
        if missing is not None:  # What is missing may be all that is wrong.
            return Resolved({}, {}, {}, missing)
        raise invalid(source, inside, error, vendor.settings, spelling) from error


_ABSENT = object()


class _LookUp:
    """Follows the references in one entry's settings, and remembers those that lead nowhere."""

    def __init__(self, resolver: Resolver, missing: list[str]) -> None:
        self._resolver = resolver
        self.missing = missing

    def add(self, name: str, find: Found, given: dict[str, object]) -> None:
        """Put the setting `name` to those `given`, if it is to be found on the machine."""
        try:
            if (value := find(self._resolver, given)) is not None:
                given[name] = value
        except MissingSecretError as error:
            self.missing.append(f"`{name}`: {error}")

    def value(
        self, value: object, owners: tuple[type[BaseModel], ...], name: str, shown: str
    ) -> object:
        """`value` of the setting `name` of one of `owners`, resolved all the way down."""
        if isinstance(value, dict):
            inner = tuple(m for owner in owners for m in models_in(_annotation(owner, name)))
            entries = cast("dict[str, object]", value).items()
            return {k: self.value(v, inner, k, f"{shown}.{k}") for k, v in entries}
        if not isinstance(value, str):
            return value
        try:
            secret = any(marked(owner, name, "secret") for owner in owners)
            return self._resolver.secret(value) if secret else self._resolver.text(value)
        except MissingSecretError as error:
            self.missing.append(f"`{shown}`: {error}")
            return _ABSENT


def marked(model: type[BaseModel], name: str, mark: str) -> bool:
    """Whether a setting bears a mark such as `SECRET`."""
    info = model.model_fields.get(name)
    if info is None:
        return False
    # `Secret | None` keeps the mark on the inner annotation.
    arguments = getattr(info.annotation, "__args__", ())
    inner = [m for a in arguments for m in getattr(a, "__metadata__", ())]
    extras = [info.json_schema_extra, *(getattr(m, "json_schema_extra", None) for m in inner)]
    return any(isinstance(extra, dict) and bool(extra.get(mark)) for extra in extras)


def _annotation(model: type[BaseModel], name: str) -> object:
    info = model.model_fields.get(name)
    return info.annotation if info is not None else None


def _present(value: object) -> object:
    if not isinstance(value, dict):
        return value
    entries = cast("dict[str, object]", value).items()
    return {key: _present(inner) for key, inner in entries if inner is not _ABSENT}


def _divided(parsed: Settings, missing: str | None) -> Resolved:
    plain = cast("dict[str, JSON]", parsed.model_dump(mode="json", exclude_none=True))
    secrets = {path[-1]: str(_removed(plain, path)) for path in _paths(parsed, "secret")}
    identity = cast("dict[str, JSON]", parsed.model_dump(mode="json", exclude_none=True))
    for path in [*_paths(parsed, "secret"), *_paths(parsed, "incidental")]:
        _removed(identity, path)
    return Resolved(plain, identity, secrets, missing)


def _paths(parsed: BaseModel, mark: str) -> Iterator[tuple[str, ...]]:
    """Where settings stand that bear `mark` and have a value."""
    for name in type(parsed).model_fields:
        value = getattr(parsed, name)
        if value is not None and marked(type(parsed), name, mark):
            yield (name,)
        elif isinstance(value, BaseModel):
            yield from ((name, *rest) for rest in _paths(value, mark))


def _removed(plain: dict[str, JSON], path: tuple[str, ...]) -> JSON:
    for name in path[:-1]:
        plain = cast("dict[str, JSON]", plain[name])
    return plain.pop(path[-1])
