"""The command line, `daybook`: a face of the client, and the way to start services.

It is quick because it is lazy: `--help` imports the parser and nothing of Daybook, a command imports what it needs when
it runs, and the web framework is never imported here. Data goes to stdout, everything else to stderr. Expected errors
are explained, without a traceback, and every way to end has its exit code (`exits`).
"""

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from cyclopts import CycloptsError

    from . import exits
    from .tree import build

    # The parser takes a lone hyphen for a nameless option; `@-` means the same to us.
    words = ["@-" if word == "-" else word for word in (sys.argv[1:] if argv is None else argv)]
    try:
        code = build()(words, exit_on_error=False, print_error=True)
        sys.stdout.flush()
    except CycloptsError:
        return exits.USAGE
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.PIPE_CLOSED
    except Exception as error:
        code = exits.explained(error)
        if code is None:
            raise
        return code
    return code if isinstance(code, int) else exits.OK
