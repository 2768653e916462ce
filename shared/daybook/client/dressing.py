"""Methods made from flows look like what they do: the flow's name, documentation and parameters, and not its plumbing.

Type checkers follow the ParamSpec; this is for people who ask `help()` or an interactive shell.
"""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

M = TypeVar("M", bound=Callable[..., Any])

_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)


def dressed(method: M, flow: Callable[..., Any], *, about_a_task: bool = False) -> M:
    """The method, wearing the flow's name, docstring and signature; `about_a_task`: the flow's first parameter is the
    task itself.
    """
    parameters = list(inspect.signature(flow).parameters.values())[1 if about_a_task else 0 :]
    method.__name__ = flow.__name__
    method.__qualname__ = flow.__name__
    method.__doc__ = flow.__doc__
    # A positional-only `self` may stand before anything, whatever the other parameters are.
    method.__signature__ = inspect.Signature([_SELF, *parameters])  # type: ignore[attr-defined]
    return method
