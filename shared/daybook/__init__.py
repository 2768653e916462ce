"""Daybook: hand work to any app and get on with your day.

    from daybook import App, Client

`App` is for whoever offers something to run, `Client` for whoever wants it run. Importing this package does nothing and
connects to nothing; each name is loaded when it is first used, since a command line should not wait for an HTTP client
it may not need.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .apps import App
    from .client import AsyncClient, Client
    from .context import Context
    from .manifest import Retry

__all__ = ["App", "AsyncClient", "Client", "Context", "Retry"]

_HOME = {"App": "apps", "AsyncClient": "client", "Client": "client", "Context": "context", "Retry": "manifest"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
