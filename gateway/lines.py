"""An endpoint with everything that a call to it passes: gates, budget, retry, servers."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from gateway.accounts import Gates
from gateway.breaker import CircuitBreaker
from gateway.config import Catalog, Endpoint, ReplicaAddress
from gateway.errors import EndpointUnavailable
from gateway.http import Transport
from gateway.http.listening import ListeningTransport
from gateway.limits import Callers, Gate
from gateway.pools import Pool, Replica, Vitals
from gateway.providers import bind
from gateway.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One endpoint, ready to be asked. Calls in flight hold on to theirs through a reload."""

    endpoint: Endpoint
    gate: Gate
    per_caller: Callers | None
    policy: RetryPolicy
    counts: bool
    """Whether a call's tokens are estimated: for a limit or a budget."""
    pool: Pool | EndpointUnavailable
    """The servers, or why there is none."""


Lines = Mapping[str, Line]


def lines_of(catalog: Catalog, before: Lines, transport: Transport, gates: Gates) -> Lines:
    """A line for every endpoint; what did not change is taken over from those before.

    Changes nothing of what is in use, and needs no event loop: it may run in a thread.
    """
    return {
        name: _line(endpoint, before.get(name), transport, gates)
        for name, endpoint in catalog.endpoints.items()
    }


def _line(endpoint: Endpoint, before: Line | None, transport: Transport, gates: Gates) -> Line:
    if before is not None and before.endpoint == endpoint:
        return before
    limits = endpoint.limits
    kept = before if before is not None and _same_limits(before.endpoint, endpoint) else None
    per_caller = gates.of_callers(endpoint, limits.per_key) if limits.per_key is not None else None
    gate = kept.gate if kept is not None else gates.of(endpoint)
    heard = ListeningTransport(transport, endpoint.provider, gate)
    return Line(
        endpoint=endpoint,
        gate=gate,
        per_caller=kept.per_caller if kept is not None else per_caller,
        policy=RetryPolicy(settings=endpoint.retry),
        counts=_counts(endpoint),
        pool=_pool(endpoint, before, heard),
    )


def _counts(endpoint: Endpoint) -> bool:
    limits, account = endpoint.limits, endpoint.account
    per_key = limits.per_key is not None and limits.per_key.tpm is not None
    shared = account is not None and account.limits.tpm is not None
    return limits.tpm is not None or per_key or shared or endpoint.budget is not None


def _same_limits(one: Endpoint, other: Endpoint) -> bool:
    """Whether two versions of an endpoint stand before the same gate."""
    return (one.limits, one.account, one.model) == (other.limits, other.account, other.model)


def _pool(
    endpoint: Endpoint, before: Line | None, transport: Transport
) -> Pool | EndpointUnavailable:
    old = before.pool if before is not None and isinstance(before.pool, Pool) else None
    known = {r.url: r.vitals for r in old.replicas} if old is not None else {}
    # A single server is known by the address that it has, or by having none.
    addresses = endpoint.replicas or (ReplicaAddress(url=endpoint.base_url or ""),)
    pooled = len(addresses) > 1
    replicas: list[Replica] = []
    try:
        for address in addresses:
            here = dataclasses.replace(endpoint, base_url=address.url or None)
            vitals = known.get(address.url)
            if vitals is None:
                vitals = Vitals(CircuitBreaker(endpoint.breaker, pooled=pooled))
            else:
                vitals.breaker.configure(endpoint.breaker, pooled=pooled)
            replicas.append(Replica(address, bind(here, transport), vitals))
    except EndpointUnavailable as error:
        return error
    return Pool(replicas, old)
