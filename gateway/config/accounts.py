"""Which endpoints share a provider's account, and what its limits are."""

import dataclasses
from collections.abc import Mapping
from hashlib import blake2b

from gateway.config.additions import AccountEntry, Rates
from gateway.config.catalog import Account, Endpoint
from gateway.config.source import Path, Source

_PERSON = b"hikaku-account"


def account(
    entry: AccountEntry, provider: str, base_url: str | None, secrets: Mapping[str, str]
) -> Account:
    """The account of one endpoint."""
    limits = Rates(concurrency=entry.concurrency, rpm=entry.rpm, tpm=entry.tpm)
    if entry.name is not None:
        return Account(id=f"n-{entry.name}", limits=limits)
    digest = blake2b(digest_size=12, person=_PERSON)
    for part in (provider, base_url or "", *(f"{k}={secrets[k]}" for k in sorted(secrets))):
        digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return Account(id=digest.hexdigest(), limits=limits)


def joined(
    source: Source, places: Mapping[str, Path], endpoints: Mapping[str, Endpoint]
) -> dict[str, Endpoint]:
    """The same endpoints; what one of them says of their account holds for all that share it.

    Raises:
        ConfigError: Two of them say different things.
    """
    known: dict[str, Account] = {}
    for name, endpoint in endpoints.items():
        own = endpoint.account
        if own is None or not own.limited:
            continue
        if known.setdefault(own.id, own) != own:
            other = next(n for n, e in endpoints.items() if e.account == known[own.id])
            message = (
                f"`{name}` and `{other}` share an account and give it different limits:"
                " give them once, or another `name`"
            )
            raise source.error(source.place((*places[name], "account")), message)
    return {name: _joined(endpoint, known) for name, endpoint in endpoints.items()}


def _joined(endpoint: Endpoint, known: Mapping[str, Account]) -> Endpoint:
    own = endpoint.account
    if own is None or own.id not in known or own.limited:
        return endpoint
    return dataclasses.replace(endpoint, account=known[own.id])
