"""Where the gates of a process come from that shares its limits with others."""

from collections import OrderedDict

from typing_extensions import override

from gateway.accounts import Gates, is_unknown, is_vendor
from gateway.config import Endpoint, Rates
from gateway.limits import MOST_CALLERS, Callers, Gate
from gateway.shared.gate import SharedGate
from gateway.shared.hub import Hub
from gateway.shared.terms import terms_of, terms_of_caller


class SharedGates(Gates):
    """Gates that keep one limit with all processes of one store."""

    def __init__(self, hub: Hub, *, job: bool, patience: float | None = None) -> None:
        """Begin.

        Args:
            hub: The line to the store.
            job: Whether calls are made for jobs, which give way to those somebody waits for.
            patience: Seconds a call waits where its endpoint does not say; None: any time.
        """
        self._hub = hub
        self._job = job
        self._patience = patience

    @override
    def of(self, endpoint: Endpoint) -> Gate:
        given = endpoint.limits.max_wait
        return SharedGate(
            terms_of(endpoint, self._hub.key),
            self._hub,
            job=self._job,
            unknown=is_unknown(endpoint),
            vendor=is_vendor(endpoint),
            max_wait=self._patience if given is None else given,
        )

    @override
    def of_callers(self, endpoint: Endpoint, rates: Rates) -> Callers:
        return SharedCallers(endpoint, rates, self._hub)


class SharedCallers(Callers):
    """What each caller may ask of one endpoint, whichever process is asked."""

    def __init__(self, endpoint: Endpoint, rates: Rates, hub: Hub) -> None:
        self._endpoint = endpoint
        self._rates = rates
        self._hub = hub
        self._gates: OrderedDict[str, SharedGate] = OrderedDict()

    @override
    async def enter(self, caller: str, tokens: int) -> Gate:
        gate = self._gates.get(caller)
        if gate is None:
            terms = terms_of_caller(self._endpoint, caller, self._rates, self._hub.key)
            gate = self._gates[caller] = SharedGate(terms, self._hub, job=False, max_wait=0.0)
            if len(self._gates) > MOST_CALLERS:
                self._gates.popitem(last=False)
        self._gates.move_to_end(caller)
        if (waiting := gate.enter(tokens)) is not None:
            await waiting
        return gate
