"""Methods made from flows look like what they do: the flow's name, documentation and parameters, and not its plumbing.

Type checkers follow the ParamSpec; this is for people who ask `help()` or an interactive shell.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

M = TypeVar("M", bound=Callable[..., Any])

_SELF = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)


def dressed(method: M, flow: Callable[..., Any], *, about_itself: bool = False) -> M:
    """The method, wearing the flow's name, docstring and signature; `about_itself`: the flow's first parameter is what the
    method belongs to.
    """
    parameters = list(_spelled_out(flow))[1 if about_itself else 0 :]
    method.__name__ = flow.__name__
    method.__qualname__ = flow.__name__
    method.__doc__ = flow.__doc__
    # A positional-only `self` may stand before anything, whatever the other parameters are.
    method.__signature__ = inspect.Signature([_SELF, *parameters])  # type: ignore[attr-defined]
    return method


def _spelled_out(flow: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """The parameters, with each option of an unpacked `TypedDict` as one of its own."""
    for parameter in inspect.signature(flow).parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            yield parameter
            continue
        (options,) = parameter.annotation.__args__
        for name, annotation in options.__annotations__.items():
            told = getattr(annotation, "__forward_arg__", annotation)
            yield inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=msgspec.UNSET, annotation=told)
