"""The servers behind one endpoint: who is well, who is free, who gets the next call."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import NamedTuple

from gateway.breaker import CircuitBreaker, State
from gateway.config import ReplicaAddress
from gateway.errors import (
    CircuitOpen,
    MalformedAnswer,
    PermanentError,
    RateLimited,
    TimedOut,
    Unavailable,
)
from gateway.providers import Provider

REST = 0.25
"""Seconds a replica is passed over that answered "overloaded" without saying for how long."""
LONGEST_REST = 60.0


class ReplicaStatus(NamedTuple):
    """One server, for people to look at."""

    url: str | None
    state: str
    in_flight: int
    capacity: int | None
    serves: str | None
    reason: str | None


class Vitals:
    """What is known of the server at one address; outlives reloads that leave the address."""

    __slots__ = (
        "asked_info", "breaker", "capacity", "clock", "ejected", "failed_probes", "in_flight",
        "reason", "rest_until", "serves",
    )  # fmt: skip

    def __init__(
        self, breaker: CircuitBreaker, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.breaker = breaker
        self.clock = clock
        self.in_flight = 0
        self.capacity: int | None = None
        """Calls at once, as the server says; None is "not known"."""
        self.ejected = False
        """Whether probes say that it is down."""
        self.failed_probes = 0
        self.rest_until = 0.0
        """It answered "overloaded" and asked for patience until then."""
        self.reason: str | None = None
        self.serves: str | None = None
        """The model it says it serves."""
        self.asked_info = False

    def wait(self) -> float:
        """Seconds until it may be asked, as far as is known; 0: now."""
        if self.ejected:
            return max(self.breaker.wait(), REST)
        return max(self.breaker.wait(), self.rest_until - self.clock(), 0.0)

    def rest(self, asked: timedelta | None) -> None:
        """Pass it over for as long as it asked for: it is busy, not ill."""
        seconds = asked.total_seconds() if asked else REST
        self.rest_until = self.clock() + min(seconds, LONGEST_REST)

    def told(self, error: BaseException | None) -> None:
        """Judge the server by how a call ended."""
        match error:
            case None:
                self.breaker.succeeded()
            case RateLimited():
                self.breaker.abandoned()
                self.rest(error.retry_after)
            case Unavailable() | TimedOut() | MalformedAnswer():
                self.reason = error.message
                self.breaker.failed()
            case PermanentError() if error.status is not None:
                self.breaker.succeeded()  # A server that refuses is well.
            case _:  # Cancelled, or never sent.
                self.breaker.abandoned()


class Replica:
    """One server of one configuration: how to speak to it, and how it is."""

    __slots__ = ("given", "provider", "url", "vitals", "weight")

    def __init__(self, address: ReplicaAddress, provider: Provider, vitals: Vitals) -> None:
        self.url = address.url
        self.weight = address.weight
        self.given = address.concurrency
        self.provider = provider
        self.vitals = vitals

    @property
    def capacity(self) -> int | None:
        """Calls at once: as configured, else as it says itself; None is "not known"."""
        return self.given if self.given is not None else self.vitals.capacity

    @property
    def full(self) -> bool:
        """Whether it works on as much as it can."""
        capacity = self.capacity
        return capacity is not None and self.vitals.in_flight >= capacity

    def status(self) -> ReplicaStatus:
        """For people to look at."""
        vitals = self.vitals
        state = State.OPEN if vitals.ejected else vitals.breaker.state
        reason = vitals.reason if state is not State.CLOSED else None
        busy = vitals.in_flight
        return ReplicaStatus(self.url, state, busy, self.capacity, vitals.serves, reason)


class Pool:
    """Replicas that serve the same model; one is a pool too."""

    def __init__(self, replicas: Sequence[Replica], before: "Pool | None" = None) -> None:
        self.replicas = tuple(replicas)
        self.several = len(self.replicas) > 1
        self._only = None if self.several else self.replicas[0]
        self._turn = 0
        # Calls that wait at the pool before this one are woken by those that pass through this.
        self.waiting: deque[asyncio.Future[None]] = before.waiting if before else deque()

    def take(self, tried: Sequence[Replica] = ()) -> Replica | None:
        """The replica for the next call, noted as busy; None when all that are well are full.

        Args:
            tried: Who failed at this request already; they come last.

        Raises:
            RetryableError: None may be asked now; `retry_after` says when to come again.
        """
        only = self._only
        if only is not None:
            if only.vitals.breaker.tripped and only.vitals.breaker.wait() > 0:
                raise self._nobody()
            if only.full:
                return None
            return self._taken(only)
        if (found := self._best(tried)) is not None:
            return self._taken(found)
        if any(r.vitals.wait() <= 0 for r in self.replicas):
            return None
        raise self._nobody()

    async def taken(self, tried: Sequence[Replica] = ()) -> Replica:
        """As `take`, waiting for a free replica; in the order of arrival."""
        while True:
            if (found := self.take(tried)) is not None:
                return found
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.waiting.append(place)
            try:
                await place
            except BaseException:
                if place.done() and not place.cancelled():
                    self.wake()
                raise
            finally:
                if place in self.waiting:
                    self.waiting.remove(place)

    def give_back(self, replica: Replica, error: BaseException | None) -> None:
        """Note that a call ended, and how."""
        vitals = replica.vitals
        vitals.in_flight -= 1
        if self.several or not isinstance(error, RateLimited):
            vitals.told(error)
        else:
            vitals.breaker.abandoned()  # Patience with an only server is the gate's business.
        if self.waiting:
            self.wake()

    def wake(self) -> None:
        """Have the longest waiting call look again."""
        while self.waiting:
            place = self.waiting.popleft()
            if not place.done():
                place.set_result(None)
                return

    def has_other(self, tried: Sequence[Replica]) -> bool:
        """Whether a replica that has not failed yet could be asked at once."""
        return self.several and any(
            r not in tried and not r.full and r.vitals.wait() <= 0 for r in self.replicas
        )

    def _taken(self, replica: Replica) -> Replica:
        replica.vitals.in_flight += 1
        replica.vitals.breaker.enter()
        return replica

    def _best(self, tried: Sequence[Replica]) -> Replica | None:
        """The least busy for its weight; among equals, each in turn."""
        self._turn += 1
        size = len(self.replicas)
        best, best_load = None, (True, 0.0)
        for offset in range(size):
            replica = self.replicas[(self._turn + offset) % size]
            if replica.full or replica.vitals.wait() > 0:
                continue
            load = (replica in tried, (replica.vitals.in_flight + 1) / replica.weight)
            if best is None or load < best_load:
                best, best_load = replica, load
        return best

    def _nobody(self) -> CircuitOpen | RateLimited:
        soonest = min((replica.vitals for replica in self.replicas), key=Vitals.wait)
        patience = timedelta(seconds=soonest.wait())
        if soonest.rest_until and not soonest.ejected and not soonest.breaker.tripped:
            return RateLimited("every replica asks for patience", retry_after=patience)
        who = "every replica" if self.several else "the server"
        return CircuitOpen(f"{who} is left alone after: {soonest.reason}", retry_after=patience)
