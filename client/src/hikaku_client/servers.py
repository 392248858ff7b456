"""Which server to speak to: named, in the environment, of the stack in this folder, or local."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from hikaku_client.errors import HikakuError

DEFAULT_URL = "http://127.0.0.1:8420"
STACK_FILE = Path(".hikaku") / "stack.json"
"""What `hikaku up` writes, in the folder it was started in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An address, how it was found, and the key that goes with it."""

    url: str
    source: str
    """For error messages: `--url`, `HIKAKU_URL`, the stack file or `default`."""
    api_key: str | None = field(default=None, repr=False)

    @property
    def is_local(self) -> bool:
        """Whether the address is this machine's own (proxies do not belong in between)."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def find(
    url: str | None, api_key: str | None, *, environ: Mapping[str, str], folder: Path
) -> Server:
    """Find the server: argument, `HIKAKU_URL`, `.hikaku/stack.json`, the default port.

    Raises:
        HikakuError: The address is not one, or a stack file would send the key elsewhere.
    """
    key = api_key or environ.get("HIKAKU_API_KEY") or None
    if url:
        return _checked(Server(url=url, source="--url", api_key=key))
    if named := environ.get("HIKAKU_URL"):
        return _checked(Server(url=named, source="HIKAKU_URL", api_key=key))
    if running := _stack_url(folder / STACK_FILE):
        server = _checked(Server(url=running, source=str(STACK_FILE), api_key=key))
        return _trusted(server)
    return Server(url=DEFAULT_URL, source="default", api_key=key)


def _checked(server: Server) -> Server:
    parts = urlsplit(server.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise HikakuError(
            f"{server.url!r} (from {server.source}) is not an address like {DEFAULT_URL}"
        )
    return Server(url=server.url.rstrip("/"), source=server.source, api_key=server.api_key)


def _trusted(server: Server) -> Server:
    # Anyone can put a stack file into a folder they hand out; a key must not follow it.
    if server.api_key and not server.is_local:
        raise HikakuError(
            f"{STACK_FILE} points to {server.url}, which is not this machine, and an API key is"
            " set; if you trust it, name it with HIKAKU_URL or --url"
        )
    return server


def _stack_url(path: Path) -> str | None:
    try:
        stack = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    urls = stack.get("urls") if isinstance(stack, dict) else None
    url = urls.get("api") if isinstance(urls, dict) else None
    return url if isinstance(url, str) else None
