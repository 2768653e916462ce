"""Everything about one task, once and in order: its facts and what its attempts say, told by NATS, gaps filled over HTTP.

    python examples/on_nats/follow_exactly_once.py tsk_01k…

NATS is quick, and may lose what it was told: a connection is cut, a server loses its store. But everything is numbered,
facts by version (`ce-sequence`), words by attempt and n, and whatever is missing can be asked for over HTTP:
`GET /v1/tasks/{id}/events`, and `GET /v1/tasks/{id}/output?from=attempt.n`. So this subscribes first, reads second, and
tells each fact and each word when its number comes up.

The interface, for use in your own program:

    follower = Follower(connection, http, task_id, BEGINNING)  # nats-py's Client; an httpx2.AsyncClient with base_url and token
    async for told in follower.follow():                       # a Fact, a Word, or a Gap that nothing can fill any more; ends with the task
        ...                                                    # follower.seen is the place after `told`: keep it, together with what you made of it

A follower with the `Seen` that another one kept goes on right behind it, on any connection, after any cut. As in the log,
what an attempt says comes after the fact that it started and before the fact that it ended.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, Final, NamedTuple, TypeAlias

import httpx2
import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from daybook.client.address import find_address

ENDINGS: Final = ("task.succeeded.v1", "task.failed.v1", "task.lost.v1", "task.released.v1", "task.cancelled.v1")
"""What ends an attempt."""
_HELD: Final = 10_000
_AGAIN_SECONDS: Final = 0.25
_NO_ANSWER: Final = (429, 500, 502, 503, 504)


class Seen(NamedTuple):
    """How far one has got: the last version, and the last word."""

    version: int = 0
    attempt: int = 0
    n: int = 0


BEGINNING: Final = Seen()


class Fact(NamedTuple):
    """One event of the task, numbered from 1."""

    version: int
    kind: str
    data: dict[str, Any]


class Word(NamedTuple):
    """One thing that an attempt said, numbered from 1 in each attempt: `type` is progress, log, chunk or action."""

    attempt: int
    n: int
    type: str
    data: dict[str, Any]


class Gap(NamedTuple):
    """Words that are lost for good: NATS has forgotten them, and their runner could not store them."""

    attempt: int
    first: int
    last: int


Told: TypeAlias = Fact | Word | Gap


class Follower:
    """Follows one task from `seen` to its end. Use it once; for the next time make another from its `seen`."""

    def __init__(
        self,
        connection: Client,
        http: httpx2.AsyncClient,
        task_id: str,
        seen: Seen = BEGINNING,
        *,
        root: str = "daybook.*.*",
        look_seconds: float = 5.0,
        patience_seconds: float = 60.0,
    ) -> None:
        """`root` is `daybook.<namespace>.<owner>` for those who may listen to nothing else. The log is looked at every
        `look_seconds` whatever NATS says. While an attempt runs, missing words are waited for, since its runner stores
        them about once a second, for `patience_seconds` at most."""
        self.seen = seen
        self._connection = connection
        self._http = http
        self._path = f"/v1/tasks/{task_id}"
        self._fact_subject, self._live_subject = f"{root}.fact.*.{task_id}.*", f"{root}.live.*.{task_id}"
        self._look_seconds, self._patience_seconds = look_seconds, patience_seconds
        self._facts: dict[int, Fact] = {}
        self._words: dict[tuple[int, int], Word] = {}
        self._running: int | None = None
        self._ended = self._knows_start = self._must_look = self._has_more = False
        self._complete = 0
        self._gap_since: float | None = None
        self._stirred = asyncio.Event()

    async def follow(self) -> AsyncGenerator[Told, None]:
        """Everything later than `seen`, in order; ends after the fact that ended the task. Raises the HTTP client's error
        for what is no matter of time, such as a token that may not see this task."""
        subscriptions = [
            await self._connection.subscribe(self._fact_subject, cb=self._hear_fact),
            await self._connection.subscribe(self._live_subject, cb=self._hear_word),
        ]
        try:
            while not await self._look():
                await asyncio.sleep(_AGAIN_SECONDS)
            looked_at = monotonic()
            while True:
                self._stirred.clear()
                while (told := self._next()) is not None:
                    yield told
                if self._ended and self.seen.version + 1 not in self._facts and not self._must_look:
                    return
                wait = looked_at + (_AGAIN_SECONDS if self._must_look else self._look_seconds) - monotonic()
                if wait <= 0 or not await self._stir(wait):
                    await self._look()
                    looked_at = monotonic()
        finally:
            for subscription in subscriptions:
                if not self._connection.is_closed:
                    await subscription.unsubscribe()

    def _next(self) -> Told | None:
        """The next that may be told; None when that is not known yet. `_must_look` says whether HTTP may know."""
        self._must_look = False
        fact = self._facts.get(self.seen.version + 1)
        is_end = fact is not None and fact.kind in ENDINGS and self._running is not None
        if self._running is not None:
            attempt, n = self._running, self.seen.n + 1
            if word := self._words.pop((attempt, n), None):
                self._gap_since = None
                self.seen = Seen(self.seen.version, attempt, n)
                return word
            if fact is not None and is_end and self._complete < fact.version:
                self._must_look = True  # the attempt is over, but not all that it said need have been heard
                return None
            later = min((key[1] for key in self._words if key[0] == attempt), default=None)
            if later is not None:
                self._gap_since = self._gap_since or monotonic()
                if is_end or monotonic() - self._gap_since > self._patience_seconds:
                    self.seen = Seen(self.seen.version, attempt, later - 1)
                    return Gap(attempt, n, later - 1)
                self._must_look = True
        if fact is not None:
            self._take(fact)
            return fact
        self._must_look = self._must_look or self._has_more or bool(self._facts)
        return None

    def _take(self, fact: Fact) -> None:
        del self._facts[fact.version]
        self.seen = Seen(fact.version, self.seen.attempt, self.seen.n)
        self._learn(fact)
        if fact.kind == "task.started.v1":
            self.seen = Seen(fact.version, fact.data["attempt"], 0)
        elif fact.kind in ENDINGS:
            # What an attempt says after it was over counts no more.
            self._words = {key: word for key, word in self._words.items() if key[0] > self.seen.attempt}
            self._gap_since = None

    def _learn(self, fact: Fact) -> None:
        """What a fact makes of the task: whether an attempt runs, and whether all is over."""
        data = fact.data
        match fact.kind:
            case "task.started.v1":
                self._running = data["attempt"]
            case "task.failed.v1":
                self._ended = "retry_at" not in data
            case "task.lost.v1":
                self._ended = data.get("final", False)
            case "task.succeeded.v1" | "task.cancelled.v1" | "task.expired.v1":
                self._ended = True
            case "task.retried.v1":
                self._ended = False
        if fact.kind in ENDINGS:
            self._running = None

    async def _hear_fact(self, message: Msg) -> None:
        headers = message.headers or {}
        if message.data:  # else it is too large for a message, and to be had over HTTP alone
            self._hold_fact(Fact(int(headers["ce-sequence"]), headers["ce-type"], json.loads(message.data)))
        self._stirred.set()

    async def _hear_word(self, message: Msg) -> None:
        # What is not held now is missing later, and asked for then: memory is bounded however slow the reader is.
        if len(self._words) < _HELD:
            self._hold_word(json.loads(message.data))
        self._stirred.set()

    def _hold_fact(self, fact: Fact) -> None:
        fact.data.pop("kind", None)
        if fact.version > self.seen.version:
            self._facts.setdefault(fact.version, fact)

    def _hold_word(self, data: dict[str, Any]) -> None:
        word = Word(data["attempt"], data["n"], data["type"], data)
        if word[:2] > self.seen[1:]:
            self._words.setdefault(word[:2], word)

    async def _look(self) -> bool:
        """Ask HTTP for what is missing; false when there was no answer now."""
        answer = await self._get(f"{self._path}/events")
        if answer is None:
            return False
        facts = [Fact(item["version"], item["kind"], item["data"]) for item in answer["items"]]
        if not self._knows_start:
            for fact in islice(facts, self.seen.version):
                self._learn(fact)
            self._knows_start = True
        for fact in facts:
            self._hold_fact(fact)
        if len(self._words) >= _HELD:
            self._words.clear()  # what is missing may be before all of them, and needs the room
        place: str | None = f"{self.seen.attempt}.{self.seen.n + 1}"
        while place is not None:
            page = await self._get(f"{self._path}/output", {"from": place})
            if page is None:
                return False
            for item in page["items"]:
                self._hold_word(item)
            place = page["next_from"] if page["items"] else None
            self._has_more = len(self._words) >= _HELD
            if self._has_more:
                return True  # it is asked for when these have been told
        self._complete = facts[-1].version
        return True

    async def _get(self, path: str, parameters: dict[str, str] | None = None) -> Any:
        """The JSON that is answered; None for no answer."""
        try:
            answer = await self._http.get(path, params=parameters)
        except httpx2.TransportError:
            return None
        return None if answer.status_code in _NO_ANSWER else answer.raise_for_status().json()

    async def _stir(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return False
        return True


async def main(task_id: str) -> None:
    """Print everything about a task."""
    local = find_address()
    url = os.environ.get("NATS_URL") or os.environ.get("DAYBOOK_NATS_URL")
    if url is None:
        url = json.loads(Path(".daybook/env.json").read_text())["nats_url"]
    headers = {"Authorization": f"Bearer {local.token}"} if local.token else {}
    connection = await nats.connect(url, max_reconnect_attempts=-1)
    async with httpx2.AsyncClient(base_url=local.url, headers=headers) as http:
        async for told in Follower(connection, http, task_id).follow():
            match told:
                case Fact(version, kind, _):
                    print(version, kind)
                case Word(attempt, n, kind, data):
                    print(f"{attempt}.{n}", kind, data.get("text") or data.get("message") or "")
                case Gap(attempt, first, last):
                    print(f"{attempt}.{first} to {attempt}.{last} are lost")
    await connection.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} TASK   (daybook task ls shows them)")
    asyncio.run(main(sys.argv[1]))
