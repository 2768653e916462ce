"""The options that commands share, and the client that they ask for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from cyclopts import Parameter

from .exits import Complaint, say

if TYPE_CHECKING:
    from pathlib import Path

    from stamina.instrumentation import RetryDetails

    from daybook.client import Client

Output: TypeAlias = Literal["table", "json", "jsonl"]

_ATTEMPTS = 3


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Common:
    """Where the API is, and how to print."""

    output: Annotated[Output | None, Parameter(name=("--output", "-o"))] = None
    """How to print; without it a table on a terminal, else jsonl."""
    url: str | None = None
    """Where the API is; without it DAYBOOK_URL, or the server of `daybook up` here."""
    token: str | None = None
    """Who is asking; without it DAYBOOK_TOKEN, or the token of `daybook up` here."""


COMMON: Final = Common()
"""Nothing given."""

TaskId: TypeAlias = Annotated[str, Parameter(help="The task's id, or @last for the one submitted last.")]


@contextmanager
def client_for(common: Common) -> "Iterator[Client]":
    """A client for the API that the options, the environment or this folder point to."""
    from stamina.instrumentation import set_on_retry_hooks

    from daybook.client import Client

    # What is tried again is told on stderr, in one line; the library's default would log it on stdout, among the data.
    set_on_retry_hooks([_tell_retry])
    with Client(common.url, common.token, attempts=_ATTEMPTS) as client:
        yield client


def remember(task_id: str) -> None:
    """Keep the id for `@last`. Failing to is told, and fails nothing: the task is submitted all the same."""
    try:
        place = _place_of_last()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(task_id + "\n")
    except OSError as error:
        say(f"note: @last cannot be remembered: {error}")


def resolve(task_id: str) -> str:
    """The id itself, or the remembered one for `@last`."""
    if task_id != "@last":
        return task_id
    try:
        return _place_of_last().read_text().strip()
    except OSError:
        raise Complaint("no task was submitted from here yet, so there is no @last") from None


def _place_of_last() -> "Path":
    import os
    from pathlib import Path

    from daybook.client.address import find_local

    local = find_local()
    if local is not None:
        return local[0] / "last"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "daybook" / "last"


def _tell_retry(details: "RetryDetails") -> None:
    why = str(details.caused_by) or type(details.caused_by).__name__
    say(f"trying again in {details.wait_for:.1f} s: {why}")
