"""The command line, `daybook`: a face of the client, and the way to start services.

It is quick because it is lazy: `daybook --help` prints a table and imports nothing, a command imports what it needs when
it runs, and the web framework is never imported here. Data goes to stdout, everything else to stderr. Expected errors are
explained, without a traceback, and every way to end has its exit code (`exits`).
"""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from . import exits


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _run(words)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.PIPE_CLOSED
    except Exception as error:
        known = exits.explained(error)
        if known is None:
            raise
        return known
    return code


def _run(words: list[str]) -> int:
    from .commands import overview

    # The first screen is what newcomers see first and scripts never ask for: it does not wait for a parser.
    if not words or words in (["--help"], ["-h"]):
        print(overview())
        return exits.OK
    with _without_collector():
        command = _parse(words)
    result = exits.USAGE if command is None else command()
    return result if isinstance(result, int) else exits.OK


def _parse(words: list[str]) -> Callable[[], object] | None:
    """The command that the words ask for, with its arguments; None when they make no sense, which has been said."""
    from functools import partial

    from cyclopts import CycloptsError

    from .commands import build

    # The parser takes a lone hyphen for a nameless option; `@-` means the same to us.
    tokens = ["@-" if word == "-" else word for word in words]
    try:
        command, bound, _ = build().parse_args(tokens, exit_on_error=False, print_error=True)
    except CycloptsError:
        return None
    return partial(command, *bound.args, **bound.kwargs)


@contextmanager
def _without_collector() -> Iterator[None]:
    """Imports allocate much and leave no garbage; looking for some takes a tenth of a short command's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
