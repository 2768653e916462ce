"""What the clients know: every request and every answer, one JSON line each, written outside of the system under test.

An answer that did not come is `unknown`, never a failure: what was asked may have happened. Everything here is the clients'
word; the checker compares it with the log's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from daybook import clock, ids

Outcome: TypeAlias = Literal["ok", "refused", "unknown"]
OWNER = "ann"


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request and what became of it. `task` is the id that was answered."""

    client: str
    what: Literal["submit", "cancel"]
    key: str
    app: str
    asked_at: float
    answered_at: float
    outcome: Outcome
    status: int = 0
    task: str = ""
    detail: str = ""


class History:
    """All of it, in memory and on disk."""

    def __init__(self, path: Path) -> None:
        self.asked: list[Asked] = []
        self.attempted: dict[str, str] = {}
        """The key of every submit that was ever tried, by the id that its task must have."""
        self._file = path.open("ab")

    def attempt(self, key: str) -> None:
        """A submit is about to be sent."""
        self.attempted[task_of(key)] = key

    def note(self, **fields: Any) -> Asked:
        """An answer came, or none did."""
        asked = Asked(answered_at=clock.now().timestamp(), **fields)
        self.asked.append(asked)
        self._file.write(msgspec.json.encode(asked) + b"\n")
        return asked

    def acknowledged(self) -> set[str]:
        """The tasks whose submit was answered with a 2xx."""
        return {asked.task for asked in self.asked if asked.what == "submit" and asked.outcome == "ok"}

    def cancelled(self) -> set[str]:
        """The tasks that somebody tried to cancel, whatever was answered."""
        return {asked.task for asked in self.asked if asked.what == "cancel"}

    def oddities(self) -> list[str]:
        """Answers that nobody should get: a sensible submit that is refused, a server's error other than that a store is away."""
        odd = (each for each in self.asked if (each.status >= 500 and each.status != 503) or (each.what == "submit" and each.outcome == "refused"))
        return [f"{each.what} of {each.app} (key {each.key}) was answered {each.status}: {each.detail}" for each in odd]

    def close(self) -> None:
        """Write what is buffered."""
        self._file.close()


def task_of(key: str) -> str:
    """The id of the task that this key submits, which nobody needs to ask for."""
    return ids.spell("tsk", ids.derive_id("http", "default", OWNER, key))
