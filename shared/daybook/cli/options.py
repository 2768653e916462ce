"""The options that commands share, and the client that they ask for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

from cyclopts import Parameter

from .exits import Complaint, say
from .wording import parse_labels

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


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Work:
    """What a task is to have beside its input; what is left out is as the app has it."""

    label: Annotated[list[str] | None, Parameter(negative=())] = None
    """name=value; may be repeated."""
    queue: str | None = None
    """Which line it waits in; without it the app's."""
    priority: int | None = None
    """1 to 5; without it the app's."""
    timeout: str | None = None
    """What one attempt may take: 45s, 10m; without it the app's."""
    max_attempts: int | None = None
    """How often it is tried at most; without it the app's."""
    queue_ttl: str | None = None
    """How long it may wait in its queue; without it the app's."""
    deadline: str | None = None
    """What all of it may take, from when it is due; without it the app's."""
    on_finish: str | None = None
    """A URL that is sent a signed message when it has ended."""

    def given(self) -> dict[str, Any]:
        """What was given, by its names in the API. Raises Complaint for a label that is none."""
        return given_of(
            labels=None if self.label is None else parse_labels(self.label),
            queue=self.queue,
            priority=self.priority,
            timeout=self.timeout,
            retry=None if self.max_attempts is None else {"max_attempts": self.max_attempts},
            queue_ttl=self.queue_ttl,
            deadline=self.deadline,
            on_finish=self.on_finish,
        )


COMMON: Final = Common()
WORK: Final = Work()
"""Nothing given."""

InputWord: TypeAlias = Annotated[str, Parameter(name="INPUT", help="k=v (text), k=@file (its text), k:=json, @file.json, or - for stdin.")]
TaskId: TypeAlias = Annotated[str, Parameter(help="The task's id, or @last for the one submitted last.")]
ScheduleId: TypeAlias = Annotated[str, Parameter(help="The schedule's id, or @last for the one created last.")]


def given_of(**options: Any) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def client_for(common: Common) -> "Iterator[Client]":
    """A client for the API that the options, the environment or this folder point to."""
    from stamina.instrumentation import set_on_retry_hooks

    from daybook.client import Client

    # What is tried again is told on stderr, in one line; the library's default would log it on stdout, among the data.
    set_on_retry_hooks([_tell_retry])
    with Client(common.url, common.token, attempts=_ATTEMPTS) as client:
        yield client


def remember(given_id: str) -> None:
    """Keep the id of a task or a schedule for `@last`. Failing to is told, and fails nothing: the thing is there all the
    same.
    """
    try:
        place = _place_of_last(_kind(given_id))
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(given_id + "\n")
    except OSError as error:
        say(f"note: @last cannot be remembered: {error}")


def resolve(task_id: str) -> str:
    """The id itself, or the remembered one for `@last`."""
    return _resolved(task_id, "task", "submitted")


def resolve_schedule(schedule_id: str) -> str:
    """The id itself, or that of the schedule created last for `@last`."""
    return _resolved(schedule_id, "schedule", "created")


def _resolved(given_id: str, kind: str, made: str) -> str:
    if given_id != "@last":
        return given_id
    try:
        return _place_of_last(kind).read_text().strip()
    except OSError:
        raise Complaint(f"no {kind} was {made} from here yet, so there is no @last") from None


def _kind(given_id: str) -> str:
    return "schedule" if given_id.startswith("sch_") else "task"


def _place_of_last(kind: str) -> "Path":
    import os
    from pathlib import Path

    from daybook.client.address import find_local

    name = "last" if kind == "task" else f"last-{kind}"
    local = find_local()
    if local is not None:
        return local[0] / name
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "daybook" / name


def _tell_retry(details: "RetryDetails") -> None:
    why = str(details.caused_by) or type(details.caused_by).__name__
    say(f"trying again in {details.wait_for:.1f} s: {why}")
