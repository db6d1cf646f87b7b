"""A loopback OpenSearch domain that verifies every signature, for tests. Names are imported on first use.

Nothing here imports the rest of the package: what judges the signatures was not written by those who make them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .domain import LocalDomain, ReceivedRequest
    from .faults import BulkAction, DocumentError, Fault, in_turn
    from .verify import Credentials

__all__ = ["BulkAction", "Credentials", "DocumentError", "Fault", "LocalDomain", "ReceivedRequest", "in_turn"]

_MODULES = {
    "BulkAction": ".faults",
    "Credentials": ".verify",
    "DocumentError": ".faults",
    "Fault": ".faults",
    "LocalDomain": ".domain",
    "ReceivedRequest": ".domain",
    "in_turn": ".faults",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_MODULES[name], __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == __name__.partition(".")[0]:
            raise
        raise ImportError(
            f"{name} needs {error.name}: pip install 'opensearch-sigv4[testing]'", name=error.name
        ) from None
