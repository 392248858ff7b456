"""Which addresses are reached through a proxy, as the environment says it (`HTTPS_PROXY`, ...)."""

import os
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

ProxyOf = Callable[[str], str | None]
"""The proxy for a URL; None: it is asked directly."""

_VARIABLES = ("http_proxy", "https_proxy", "all_proxy")
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})


def proxies_of(environ: Mapping[str, str] = os.environ) -> ProxyOf | None:
    """How proxies are chosen; None when the environment names none.

    This machine itself is never asked through one.
    """
    given = {name.lower(): value for name, value in environ.items() if value}
    if not any(name in given for name in _VARIABLES):
        return None

    def proxy_of(url: str) -> str | None:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if host in _HERE or _exempt(host, parts.port, given.get("no_proxy", "")):
            return None
        found = given.get(f"{parts.scheme}_proxy") or given.get("all_proxy")
        return found if found is None or "://" in found else f"http://{found}"

    return proxy_of


def _exempt(host: str, port: int | None, listed: str) -> bool:
    """Whether `NO_PROXY` names the host, its domain, or everything."""
    for entry in (entry.strip().lower() for entry in listed.split(",")):
        name, _, only = entry.partition(":") if entry.count(":") == 1 else (entry, "", "")
        name = name.removeprefix("*").removeprefix(".").strip("[]")
        if only and only != str(port):
            continue
        if entry == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
    return False
