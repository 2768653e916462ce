"""How commands end: the exit codes, and what is said on stderr about an error that was to be expected.

0  success          3  cancelled        6  conflict
1  task error       4  not authorized   7  unreachable or unavailable
2  usage            5  not found        124  the wait timed out, 130  interrupted, 141  stdout was closed
"""

import sys
from typing import Final

OK: Final = 0
TASK_ERROR: Final = 1
USAGE: Final = 2
CANCELLED: Final = 3
AUTH: Final = 4
NOT_FOUND: Final = 5
CONFLICT: Final = 6
UNREACHABLE: Final = 7
TIMED_OUT: Final = 124
INTERRUPTED: Final = 130
PIPE_CLOSED: Final = 141


class Complaint(Exception):
    """The command cannot be done as it was given; the text says why and what to do."""

    def __init__(self, text: str, *, hint: str | None = None, code: int = USAGE) -> None:
        super().__init__(text)
        self.hint = hint
        self.code = code


def say(text: str) -> None:
    """A line for the person at the terminal; never data."""
    print(text, file=sys.stderr, flush=True)


def of_status(status: str) -> int:
    """The exit code for a task that ended like this."""
    return {"success": OK, "error": TASK_ERROR, "cancelled": CANCELLED}[status]


def explained(error: Exception) -> int | None:
    """Say what went wrong and return the exit code; None for an error that nobody expected."""
    if isinstance(error, Complaint):
        _complain(str(error), hint=error.hint)
        return error.code
    # Only a command that used the client can have failed by one of its errors, and then it is loaded already.
    client = sys.modules.get("daybook.client")
    return None if client is None else _explained_by_client(error)


def _explained_by_client(error: Exception) -> int | None:
    from daybook import client

    from .wording import clean

    match error:
        case client.ApiError():
            problem = error.problem
            spots = [f"  {each.pointer or '/'}  {each.message}" for each in problem.errors or ()]
            detail = problem.detail or problem.title
            text = "\n".join([f"{problem.code}: {detail}", *spots])
            reference = f" (request {problem.request_id})" if problem.request_id and problem.status >= 500 else ""
            _complain(clean(text) + reference, hint=clean(problem.hint) if problem.hint else _hint(error))
            return _of_api_error(error)
        case client.WaitTimedOut():
            _complain(str(error))
            return TIMED_OUT
        case client.Unreachable():
            _complain(str(error))
            return UNREACHABLE
        case client.DaybookError():
            _complain(clean(str(error)))
            return TASK_ERROR
        case _:
            return None


def _of_api_error(error: Exception) -> int:
    from daybook import client

    match error:
        case client.BadRequest():
            return USAGE
        case client.Unauthorized():
            return AUTH
        case client.NotFound():
            return NOT_FOUND
        case client.Conflict():
            return CONFLICT
        case client.Unavailable():
            return UNREACHABLE
        case _:
            return TASK_ERROR


def _hint(error: Exception) -> str | None:
    from daybook import client

    if isinstance(error, client.Unauthorized):
        return "set DAYBOOK_TOKEN or give --token; `daybook token create` makes one"
    return None


def _complain(text: str, *, hint: str | None = None) -> None:
    say(f"error: {text}")
    if hint:
        say(f"hint: {hint}")
