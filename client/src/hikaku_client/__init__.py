"""Hikaku from Python: start evaluations, wait for them, read and compare their results.

The names below load when they are first used, so that the command line starts fast.
"""

from importlib import import_module

_HOMES = {
    "Client": "client",
    "Comparison": "comparison",
    "Conflict": "errors",
    "Fault": "errors",
    "HikakuError": "errors",
    "InvalidRequest": "errors",
    "Job": "jobs",
    "MissingExtra": "errors",
    "NotAllowed": "errors",
    "NotFound": "errors",
    "NotReachable": "errors",
    "Problem": "errors",
    "ServerFailed": "errors",
    "SpecError": "errors",
    "Unavailable": "errors",
    "WaitTimeout": "errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
