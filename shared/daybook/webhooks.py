"""Webhooks: what is told of a task's end, to whom, and the task that tells it.

A delivery is a task like any other, of the app `daybook.webhook`, which is built into every runner. So it is tried again
with growing pauses, taken over when a runner dies, listed, cancelled, and retried by hand; its attempts are the record of
what was sent and what was answered. Its id, which follows from the end and the target, makes sure that there is one.

What is sent is a message as the Standard Webhooks specification has it. The result itself is not in it, only where it is.
It refuses URLs that are none, or that carry a password. Which addresses may be called is no matter of spelling: the runner
looks at them when it connects.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from . import ids
from .domain.commands import Submit
from .domain.events import BUILT_IN, Ending, Policy, TaskSubmitted
from .domain.status import Status
from .domain.task import Task, decide
from .log import codec
from .manifest import Definition, HttpApp

APP: Final = f"{BUILT_IN}webhook"
ACTOR: Final = "webhooks"
"""Who submits deliveries. The database gives a signing secret for those alone."""
ENDS: Final[tuple[Ending, ...]] = ("task.success", "task.error", "task.cancelled")
TEST: Final = "webhook.test"
LONGEST_URL: Final = 2048
_ENDING: Final[dict[Status, Ending]] = {Status.SUCCESS: "task.success", Status.ERROR: "task.error", Status.CANCELLED: "task.cancelled"}
_ENCODE: Final = msgspec.json.Encoder().encode

DELIVER: Final = Definition(
    app=APP,
    kind="http",
    doc="Tells a URL of a task's end, as the Standard Webhooks specification has it.",
    run=HttpApp(url="{{url}}", method="POST", json="{{body}}"),
    input_schema={"type": "object", "properties": {"url": {"type": "string"}, "body": {"type": "object"}}, "required": ["url", "body"]},
    # Nine attempts in seventeen hours: what is broken in the evening may be mended in the morning.
    policy=Policy(max_attempts=9, max_losses=20, timeout_seconds=15.0, backoff_seconds=5.0, backoff_factor=5.0, backoff_max_seconds=21600.0),
)


class ResultPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where the result is, and how large."""

    media_type: str
    size_bytes: int
    href: str


class EndedTask(msgspec.Struct, frozen=True, kw_only=True):
    """The task as it ended. What an error said is not in it, only its type."""

    id: str
    app: str
    status: str
    reason: str
    owner: str
    queue: str
    labels: dict[str, str]
    attempt: int
    version: int
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error_type: str | None
    schedule: str | None
    rerun_of: str | None
    result: ResultPlace | None
    href: str


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The body that is sent: what happened, when, and to what."""

    type: str
    timestamp: datetime
    data: EndedTask | dict[str, Any]


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One message to one URL, to be submitted. `owner` is whose URL it is; `labels` lead from the task, and from the webhook
    where there is one, to its deliveries."""

    stream: UUID
    namespace: str
    owner: str
    url: str
    message: Message
    labels: dict[str, str]
    causation: str = ""
    correlation: str = ""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """The first event of a delivery, and its payload."""

    event: TaskSubmitted
    sealed: codec.Sealed


def checked_url(url: str) -> str:
    """The URL, where it is one that a message can be sent to. Raises ValueError, which says what is wrong with it."""
    if not 1 <= len(url) <= LONGEST_URL:
        raise ValueError(f"a URL has 1 to {LONGEST_URL} characters")
    if not url.isascii() or not url.isprintable() or any(character in url for character in ' "<>\\^`{|}'):
        raise ValueError("a URL is written in ASCII, without spaces; what else there is in it is percent-encoded, and its host in punycode")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"it is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise ValueError("a URL begins with https:// or http://, and names a host")
    if "@" in parts.netloc:
        raise ValueError("a URL holds no user and no password; every message is signed")
    return url


def ended_message(task_id: str, task: Task) -> Message:
    """What is told of a task that has ended."""
    assert task.finished_at is not None, "the task has not ended"
    href = f"/v1/tasks/{task_id}"
    result = task.result if task.status is Status.SUCCESS else None
    data = EndedTask(
        id=task_id,
        app=task.app,
        status=task.status.value,
        reason=task.reason,
        owner=task.owner,
        queue=task.queue,
        labels=task.labels,
        attempt=task.attempt,
        version=task.version,
        submitted_at=task.submitted_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        error_type=task.error_type or None if task.status is Status.ERROR else None,
        schedule=task.schedule or None,
        rerun_of=task.rerun_of or None,
        result=None if result is None else ResultPlace(media_type=result.media_type, size_bytes=result.size_bytes, href=f"{href}/result"),
        href=href,
    )
    return Message(type=_ENDING[task.status], timestamp=task.finished_at, data=data)


def wants(events: Sequence[str], status: Status) -> bool:
    """Whether one of these events is that end; no event named means every one."""
    return not events or _ENDING[status] in events


def delivery_id(end: UUID, target: str) -> UUID:
    """The id of the delivery of an end (by its event's id) to a target, which nobody can submit twice."""
    return ids.derive_id("webhook", str(end), target)


def labels_of(task_id: str = "", webhook: str = "") -> dict[str, str]:
    """How deliveries are found: by the task that ended, and by the webhook that wanted to know."""
    return {name: value for name, value in (("task", task_id), ("webhook", webhook)) if value}


def order(delivery: Delivery, now: datetime, *, queue: str, policy: Policy) -> Order:
    """What to append, so that the message is sent."""
    sealed = codec.seal(_ENCODE({"url": delivery.url, "body": delivery.message}))
    command = Submit(
        actor=ACTOR,
        reason=delivery.message.type,
        causation=delivery.causation,
        correlation=delivery.correlation,
        owner=delivery.owner,
        app=APP,
        app_version=DELIVER.version,
        input=sealed.content,
        queue=queue,
        policy=policy,
        labels=delivery.labels,
    )
    event = decide(None, command, now)
    assert isinstance(event, TaskSubmitted), "a task without a time of its own cannot be late"
    return Order(event=event, sealed=sealed)
