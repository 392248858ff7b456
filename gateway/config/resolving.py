"""One entry of the file to one `Endpoint`: provider, settings, secrets."""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel, ValidationError

from gateway.config.catalog import Endpoint, fingerprint
from gateway.config.schema import EndpointEntry, RouteEntry
from gateway.config.secrets import MissingSecretError, Resolver
from gateway.config.source import Path, Source
from gateway.config.vendors import VENDORS, Settings, Vendor, Wire, canonical, unprefixed
from gateway.types import JSON


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings of one entry after look-ups."""

    public: dict[str, JSON]
    identity: dict[str, JSON]
    secrets: dict[str, str]
    missing: str | None


def endpoint(
    source: Source, path: Path, entry: EndpointEntry | RouteEntry, resolver: Resolver
) -> Endpoint:
    """Resolve one entry.

    Raises:
        ConfigError: The provider or one of its settings is not known or not valid. A missing
            secret is no error: it makes this endpoint alone unavailable.
    """
    provider = canonical(entry.model.provider)
    vendor = _vendor(source, path, provider)
    resolved = _settings(
        source, path, vendor, provider=provider, config=entry.model.config or {}, resolver=resolver
    )
    base_url = _base_url(vendor, resolved.public)
    settings = resolved.identity | ({"base_url": base_url} if base_url else {})
    if entry.params:
        settings["params"] = entry.params
    kind = entry.endpoint_type if isinstance(entry, EndpointEntry) else entry.route_type
    return Endpoint(
        name=entry.name,
        endpoint_type=kind,
        provider=provider,
        model=entry.model.name,
        settings=settings,
        fingerprint=fingerprint(provider, entry.model.name, kind, settings),
        wire=vendor.wire,
        base_url=base_url,
        secret=resolved.secrets.get("api_key"),
        secrets=resolved.secrets,
        options=resolved.public,
        params=entry.params,
        price=entry.price,
        limits=entry.limits,
        limit=entry.limit,
        timeouts=entry.timeouts,
        retry=entry.retry,
        declared_as="routes" if path[0] == "routes" else "endpoints",
        unavailable=resolved.missing or _unusable(vendor, provider, resolved, base_url),
    )


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word closest to `word`, or all when none is close."""
    options = sorted(known)
    if close := difflib.get_close_matches(word, options, n=1, cutoff=0.5):
        return f"did you mean `{close[0]}`?"
    return "known are: " + ", ".join(options)


def invalid(
    source: Source,
    path: Path,
    error: ValidationError,
    model: type[BaseModel],
    spelling: Mapping[str, str] | None = None,
) -> Exception:
    """Turn Pydantic's first complaint into a `ConfigError` at its place in the file."""
    # A misspelt key is told before the right one is missed.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    where = tuple((spelling or {}).get(str(part), part) for part in first["loc"])
    place = source.place((*path, *where))
    if first["type"] == "extra_forbidden":
        hint = nearest(str(where[-1]), _fields_at(model, where[:-1]))
        return source.error(place, f"unknown key `{where[-1]}`; {hint}")
    name = ".".join(str(part) for part in (*path[-1:], *where) if not isinstance(part, int))
    if first["type"] == "missing":
        return source.error(place, f"`{where[-1]}` is missing here")
    message = first["msg"].removeprefix("Value error, ")
    return source.error(place, f"`{name}`: {message}")


def _fields_at(model: type[BaseModel], where: tuple[str | int, ...]) -> list[str]:
    for part in where:
        if isinstance(part, str) and (info := model.model_fields.get(part)) is not None:
            inner = [info.annotation, *getattr(info.annotation, "__args__", ())]
            model = next((m for m in inner if _is_model(m)), model)
    return list(model.model_fields)


def _is_model(candidate: object) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def _vendor(source: Source, path: Path, provider: str) -> Vendor:
    if (vendor := VENDORS.get(provider)) is not None:
        return vendor
    place = source.place((*path, "model", "provider"))
    raise source.error(place, f"unknown provider `{provider}`; {nearest(provider, VENDORS)}")


def _settings(
    source: Source,
    path: Path,
    vendor: Vendor,
    *,
    provider: str,
    config: dict[str, Any],
    resolver: Resolver,
) -> Resolved:
    if vendor.settings is None:
        return Resolved({}, {}, {}, None)
    spelling = {unprefixed(provider, key): key for key in config}
    inside = (*path, "model", "config")
    for name, key in spelling.items():
        if name not in vendor.settings.model_fields:
            hint = nearest(key, vendor.settings.model_fields)
            raise source.error(source.place((*inside, key)), f"unknown key `{key}`; {hint}")
    given, missing = _look_up(vendor.settings, spelling, config, resolver)
    try:
        return _divided(vendor.settings.model_validate(given), missing)
    except ValidationError as error:
        if missing is not None:  # What is missing may be all that is wrong.
            return Resolved({}, {}, {}, missing)
        raise invalid(source, inside, error, vendor.settings, spelling) from error


def _look_up(
    settings: type[Settings],
    spelling: Mapping[str, str],
    config: dict[str, Any],
    resolver: Resolver,
) -> tuple[dict[str, Any], str | None]:
    given: dict[str, Any] = {}
    missing: str | None = None
    for name, key in spelling.items():
        value = config[key]
        try:
            if isinstance(value, str):
                secret = _marked(settings, name, "secret")
                value = resolver.secret(value) if secret else resolver.text(value)
            elif isinstance(value, dict) and (inner := _inner(settings, name)) is not None:
                entries = cast("dict[str, Any]", value)
                value, absent = _look_up(inner, {k: k for k in entries}, entries, resolver)
                missing = missing or absent
            given[name] = value
        except MissingSecretError as error:
            missing = f"`{key}`: {error}"
    return given, missing


def _inner(settings: type[Settings], name: str) -> type[Settings] | None:
    """The settings that a setting itself consists of, such as those of `aws_config`."""
    info = settings.model_fields.get(name)
    kinds = [info.annotation, *getattr(info.annotation, "__args__", ())] if info else []
    found = (k for k in kinds if isinstance(k, type) and issubclass(k, Settings))
    return next(found, None)


def _marked(settings: type[Settings], name: str, mark: str) -> bool:
    info = settings.model_fields.get(name)
    extra = info.json_schema_extra if info is not None else None
    if isinstance(extra, dict) and extra.get(mark):
        return True
    # `Secret | None` keeps the mark on the inner annotation.
    arguments = getattr(info.annotation, "__args__", ()) if info is not None else ()
    metadata = [m for a in arguments for m in getattr(a, "__metadata__", ())]
    return any(
        isinstance(found := getattr(m, "json_schema_extra", None), dict) and bool(found.get(mark))
        for m in metadata
    )


def _divided(parsed: Settings, missing: str | None) -> Resolved:
    plain = cast("dict[str, JSON]", parsed.model_dump(mode="json", exclude_none=True))
    public, secrets = _without_secrets(parsed, plain)
    identity = {k: v for k, v in public.items() if not _marked(type(parsed), k, "incidental")}
    return Resolved(public, identity, secrets, missing)


def _without_secrets(
    parsed: Settings, plain: Mapping[str, JSON]
) -> tuple[dict[str, JSON], dict[str, str]]:
    public: dict[str, JSON] = {}
    secrets: dict[str, str] = {}
    for name, value in plain.items():
        inside = getattr(parsed, name)
        if _marked(type(parsed), name, "secret"):
            secrets[name] = str(value)
        elif isinstance(inside, Settings) and isinstance(value, dict):
            public[name], found = _without_secrets(inside, value)
            secrets |= found
        else:
            public[name] = value
    return public, secrets


def _base_url(vendor: Vendor, settings: Mapping[str, JSON]) -> str | None:
    for key in ("api_base", "hf_server_url", "model_server_url"):
        if isinstance(url := settings.get(key), str):
            return url
    return vendor.base_url


def _unusable(
    vendor: Vendor, provider: str, resolved: Resolved, base_url: str | None
) -> str | None:
    if vendor.wire is Wire.ABSENT:
        return f"this version cannot speak to the provider `{provider}` yet"
    if resolved.public.get("api_type", "openai") != "openai":
        return "this version cannot speak to Azure OpenAI yet"
    if vendor.wire is Wire.OPENAI and base_url is None:
        return f"`api_base` is missing: `{provider}` has no address of its own"
    if vendor.needs_key and "api_key" not in resolved.secrets:
        return "`api_key` is missing"
    return None
