"""Every vendor of the contract suite: a file here that has `VENDORS` takes part."""

import importlib
import pkgutil

from tests.support.vendors.contract import Vendor


def every() -> list[Vendor]:
    """All rows of all files, in the order of the files' names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [vendor for module in modules for vendor in getattr(module, "VENDORS", ())]
