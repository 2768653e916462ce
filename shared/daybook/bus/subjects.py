"""Every subject there is, and the only functions that make one.

User text never becomes a subject token unchecked: an owner or app name that is not already made of harmless characters
is replaced by a digest of itself. Two owners never share a token, since permissions hang on it; two apps may (`a.b` and
`a-b`), and the id that follows tells their tasks apart.
"""

import re
from functools import lru_cache
from hashlib import sha256
from typing import Final

POKE: Final = "daybook.poke"
"""Core NATS: "the log grew", up to where and by what. A hint that may be lost."""

FACTS: Final = "daybook.*.*.fact.>"
LIVE: Final = "daybook.*.*.live.>"
WORK: Final = "daybook.work.*"

API_QUEUE: Final = "daybook-api"
"""The queue group of all API processes: each request goes to one of them."""

_NAME: Final = re.compile(r"[a-z0-9_-]{1,32}")
_APP: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def is_name(text: str) -> bool:
    """Whether the text may name a namespace or a queue: 1 to 32 of a-z, 0-9, `_` and `-`."""
    return _NAME.fullmatch(text) is not None


@lru_cache(maxsize=65536)
def owner_token(owner: str) -> str:
    """The subject token of an owner: the name itself where it is harmless, else `x-` and a digest."""
    if is_name(owner) and not owner.startswith("x-"):
        return owner
    return f"x-{sha256(owner.encode()).hexdigest()[:24]}"


@lru_cache(maxsize=4096)
def app_token(app: str) -> str:
    """The subject token of an app: its id with `-` for the dots."""
    if _APP.fullmatch(app):
        return app.replace(".", "-")
    return f"x-{sha256(app.encode()).hexdigest()[:24]}"


def fact_prefix(namespace: str, owner: str, app: str, public_id: str) -> str:
    """Where the facts of one stream are told, less the last token: the status that a fact leads to, or what happened
    when the status stays."""
    return f"daybook.{_checked(namespace)}.{owner_token(owner)}.fact.{app_token(app)}.{public_id}"


def live(namespace: str, owner: str, app: str, task_id: str) -> str:
    """Where a running attempt speaks."""
    return f"daybook.{_checked(namespace)}.{owner_token(owner)}.live.{app_token(app)}.{task_id}"


def api_of_all(verb: str) -> str:
    """Where everybody's requests of one kind arrive: `tasks.submit`, for instance."""
    return f"daybook.*.*.api.{verb}"


def api(namespace: str, owner: str, verb: str) -> str:
    """Where one owner asks for something."""
    return f"daybook.{_checked(namespace)}.{owner_token(owner)}.api.{verb}"


def asker(subject: str) -> tuple[str, str]:
    """The namespace and the owner's token in the subject of a request."""
    _, namespace, token, _ = subject.split(".", 3)
    return namespace, token


def is_inbox(subject: str) -> bool:
    """Whether this can be where somebody waits for a reply: `_INBOX…`, or what servers make of one on its way. What
    else a request names as such is a subject on which others believe what they hear."""
    return subject.startswith("_")


def work(queue: str) -> str:
    """Where the doorbells of a queue ring."""
    return f"daybook.work.{_checked(queue)}"


def control(runner: str) -> str:
    """Where a runner is told to cancel an attempt."""
    return f"daybook.control.{_checked(runner)}"


def _checked(token: str) -> str:
    if not is_name(token):
        raise ValueError(f"{token!r} cannot be part of a subject")
    return token
