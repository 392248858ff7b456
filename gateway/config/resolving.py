"""One entry of the file to one `Endpoint`: provider, address, settings, secrets."""

from collections.abc import Mapping
from urllib.parse import urlsplit

from gateway.config.accounts import account
from gateway.config.catalog import Endpoint, ReplicaAddress, fingerprint
from gateway.config.complaints import nearest
from gateway.config.prices import FROM_FILE, ListPrice, list_price
from gateway.config.provider_settings import Resolved, provider_settings
from gateway.config.schema import EndpointEntry, RouteEntry
from gateway.config.secrets import MissingSecretError, Resolver
from gateway.config.source import Path, Source, without_keys
from gateway.config.vendors import VENDORS, Vendor, Wire, canonical, unprefixed
from gateway.types import JSON

ADDRESSES = ("api_base", "hf_server_url", "model_server_url", "host")
"""Settings that are the address of one server; `urls:` stands instead of them."""


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
    replicas, resolved = _resolved(source, path, entry, vendor, resolver)
    base_url = replicas[0].url if replicas else _base_url(vendor, resolved.public)
    settings = _identity(entry, resolved, base_url)
    kind = entry.endpoint_type if isinstance(entry, EndpointEntry) else entry.route_type
    listed = _listed(vendor, provider, entry, base_url)
    return Endpoint(
        name=entry.name,
        endpoint_type=kind,
        provider=provider,
        model=entry.model.name,
        settings=settings,
        fingerprint=fingerprint(provider, entry.model.name, kind, settings),
        wire=vendor.wire,
        base_url=base_url,
        replicas=replicas,
        secret=resolved.secrets.get("api_key"),
        secrets=resolved.secrets,
        options=resolved.public,
        params=entry.params,
        price=entry.price or (listed and listed.price),
        price_source=FROM_FILE if entry.price else listed and listed.source,
        max_output_tokens=listed and listed.max_output_tokens,
        limits=entry.limits,
        account=account(entry.account, provider, base_url, resolved.secrets),
        limit=entry.limit,
        timeouts=entry.timeouts,
        retry=entry.retry,
        health=entry.health,
        breaker=entry.breaker,
        fallback=entry.fallback,
        cache=entry.cache,
        budget=entry.budget,
        batch_api=entry.batch_api,
        passthrough=entry.passthrough,
        declared_as="routes" if path[0] == "routes" else "endpoints",
        unavailable=resolved.missing or _unusable(vendor, provider, resolved, base_url),
    )


def _resolved(
    source: Source,
    path: Path,
    entry: EndpointEntry | RouteEntry,
    vendor: Vendor,
    resolver: Resolver,
) -> tuple[tuple[ReplicaAddress, ...], Resolved]:
    """Resolve its addresses, and the settings of its provider."""
    replicas, lost = _replicas(source, path, entry, resolver)
    resolved = provider_settings(
        source,
        path,
        vendor,
        provider=canonical(entry.model.provider),
        config=_config(entry, replicas),
        resolver=resolver,
        lost=lost,
    )
    return replicas, resolved


def _listed(
    vendor: Vendor, provider: str, entry: EndpointEntry | RouteEntry, base_url: str | None
) -> ListPrice | None:
    """The vendor's list price: it holds at the vendor's own address, and nowhere else."""
    if vendor.base_url is None or base_url is None:
        return None
    if base_url.rstrip("/") != vendor.base_url.rstrip("/"):
        return None
    return list_price(provider, entry.model.name)


def _vendor(source: Source, path: Path, provider: str) -> Vendor:
    if (vendor := VENDORS.get(provider)) is not None:
        return vendor
    place = source.place((*path, "model", "provider"))
    raise source.error(place, f"unknown provider `{provider}`; {nearest(provider, VENDORS)}")


def _replicas(
    source: Source, path: Path, entry: EndpointEntry | RouteEntry, resolver: Resolver
) -> tuple[tuple[ReplicaAddress, ...], str | None]:
    """The servers of a pool, and why one of their addresses is not known."""
    if entry.urls is None:
        return (), None
    if entry.model.name is None:
        message = "a pool needs `model.name`: it is what all its `urls` serve"
        raise source.error(source.place((*path, "urls")), message)
    for key in entry.model.config or {}:
        if unprefixed(canonical(entry.model.provider), key) in ADDRESSES:
            place = source.place((*path, "model", "config", key))
            raise source.error(place, f"`{key}` and `urls` are both addresses: give one of them")
    found: dict[str, ReplicaAddress] = {}
    for index, given in enumerate(entry.urls):
        place = source.place((*path, "urls", index))
        try:
            url = resolver.text(given.url).rstrip("/")
        except MissingSecretError as error:
            return (), f"`urls`: {error}"
        if not _leads_to_a_server(url):
            message = f"`{without_keys(url)}` is no URL of a server: http://HOST[:PORT][/PATH]"
            raise source.error(place, message)
        if url in found:
            raise source.error(place, f"`{url}` stands twice in this pool")
        found[url] = ReplicaAddress(url=url, weight=given.weight, concurrency=given.concurrency)
    return tuple(found.values()), None


def _leads_to_a_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc


def _config(
    entry: EndpointEntry | RouteEntry, replicas: tuple[ReplicaAddress, ...]
) -> Mapping[str, object]:
    """`config:` with the first replica's address where the provider demands one."""
    config = entry.model.config or {}
    vendor = VENDORS[canonical(entry.model.provider)]
    if not replicas or vendor.settings is None:
        return config
    fields = vendor.settings.model_fields
    needed = {a: replicas[0].url for a in ADDRESSES if a in fields and fields[a].is_required()}
    return needed | config


def _identity(
    entry: EndpointEntry | RouteEntry, resolved: Resolved, base_url: str | None
) -> dict[str, JSON]:
    """What decides the answers; how many servers give them does not."""
    settings = dict(resolved.identity)
    if entry.urls is not None:
        settings = {k: v for k, v in settings.items() if k not in ADDRESSES} | {"pool": True}
    elif base_url:
        settings["base_url"] = base_url
    if entry.params:
        settings["params"] = entry.params
    return settings


def _base_url(vendor: Vendor, settings: Mapping[str, JSON]) -> str | None:
    for key in ADDRESSES:
        if isinstance(url := settings.get(key), str):
            return url
    return vendor.base_url


def _unusable(
    vendor: Vendor, provider: str, resolved: Resolved, base_url: str | None
) -> str | None:
    if (lack := vendor.lacking(resolved.public, resolved.secrets)) is not None:
        return lack
    if vendor.wire is Wire.OPENAI and base_url is None:
        return f"`api_base` is missing: `{provider}` has no address of its own"
    if vendor.needs_key and "api_key" not in resolved.secrets:
        return "`api_key` is missing"
    return None
