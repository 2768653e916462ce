"""Random histories: whatever `decide` answers to random commands about many tasks at once, written to the log in the order in which it happened."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final
from uuid import UUID

from tests.log.samples import CONTENT

from daybook import ids
from daybook.domain.commands import AnyCommand, Cancel, ConfirmCancel, Fail, MarkDue, Release, Reschedule, Start, Submit, Succeed
from daybook.domain.events import AppPublished, TaskEvent, TaskFailed, kind_of
from daybook.domain.task import Task, decide, evolve
from daybook.log import codec
from daybook.log.connections import Connection
from daybook.log.envelope import Append, Recorded
from daybook.log.postgres import Log, events_of

_NOW: Final = datetime(2026, 3, 14, 12, tzinfo=UTC)
APPEND: Final = "SELECT at FROM log._append(log._take_lane(), $1, $2, $3, $4, $5, $6, $7)"
"""What the owner may do, and only he: append whatever he likes."""


class Stories:
    """Tasks of several namespaces, owners and apps, in all kinds of states."""

    def __init__(self, seed: int) -> None:
        self._chance = Random(seed)
        self._tasks: dict[UUID, Task] = {}
        self._namespaces: dict[UUID, str] = {}
        self._published = 0

    async def go_on(self, owner: Connection, events: int) -> None:
        """So many more events, a few streams at a time."""
        told = 0
        while told < events:
            chance = self._chance
            rows: list[tuple[UUID, str, TaskEvent | AppPublished]] = [self._begin() for _ in range(chance.randint(0, 3))]
            for stream in chance.sample(sorted(self._tasks), min(8, len(self._tasks))):
                event = self._event(self._tasks[stream])
                if event is not None:
                    rows.append((stream, self._namespaces[stream], event))
            if chance.random() < 0.05:
                rows.append(self._announce())
            if rows:
                await self._tell(owner, rows)
            told += len(rows)

    def _begin(self) -> tuple[UUID, str, TaskEvent]:
        chance = self._chance
        stream = ids.new_id()
        self._namespaces[stream] = chance.choice(("default", "other"))
        command = Submit(
            actor="user:ann",
            reason=chance.choice(("", "why not")),
            owner=chance.choice(("ann", "bob", "Zoë ☕")),
            app=chance.choice(("hello", "images.resize")),
            app_version="1",
            input=CONTENT,
            queue=chance.choice(("default", "slow")),
            priority=chance.randint(1, 5),
            run_at=chance.choice((None, _NOW + timedelta(hours=chance.random()))),
            labels={f"k{number}": f'v "{number}"' for number in range(chance.randint(0, 2))},
        )
        event = decide(None, command, _NOW)
        assert isinstance(event, TaskEvent)
        return stream, self._namespaces[stream], event

    def _event(self, task: Task) -> TaskEvent | None:
        chance, attempt = self._chance, task.attempt
        later = _NOW + timedelta(hours=2 + chance.random())
        command: AnyCommand = chance.choice(
            (
                Start(actor="runner:r", runner="r"),
                Start(actor="runner:r", runner="r"),
                Succeed(actor="runner:r", attempt=attempt, result=CONTENT),
                Fail(actor="runner:r", attempt=attempt, error=CONTENT, error_type="ValueError"),
                Release(actor="runner:r", attempt=attempt, reason="draining"),
                ConfirmCancel(actor="runner:r", attempt=attempt),
                MarkDue(actor="scheduler"),
                Reschedule(actor="user:ann", run_at=later),
                Cancel(actor="user:ann", reason="enough"),
            )
        )
        event = decide(task, command, later + timedelta(hours=2) if isinstance(command, MarkDue) else _NOW)
        if isinstance(event, TaskFailed) and chance.random() < 0.5:
            event = TaskFailed(attempt=attempt, error=CONTENT, error_type="Flaky", retry_at=later, reason="retry_backoff")
        return event if isinstance(event, TaskEvent) else None

    def _announce(self) -> tuple[UUID, str, AppPublished]:
        self._published += 1
        event = AppPublished(app="hello", app_kind="python", version=str(self._published), doc="says “hello”", input_schema={"type": "object"})
        return ids.derive_id("app", "default", "hello"), "default", event

    async def _tell(self, owner: Connection, rows: list[tuple[UUID, str, TaskEvent | AppPublished]]) -> None:
        appends = []
        for stream, namespace, event in rows:
            version = self._published if isinstance(event, AppPublished) else self._version(stream) + 1
            appends.append(Append(stream, version, ids.new_id(), kind_of(event), namespace, codec.encode(event)))
        recorded = await owner.fetch(APPEND.replace("at FROM", "stream, at FROM"), *zip(*appends, strict=True))
        assert len(recorded) == len(appends)
        times = {row["stream"]: row["at"] for row in recorded}
        for stream, _, event in rows:
            if isinstance(event, TaskEvent):
                self._tasks[stream] = evolve(self._tasks.get(stream), event, times[stream])

    def _version(self, stream: UUID) -> int:
        return self._tasks[stream].version if stream in self._tasks else 0

    async def folded(self, log: Log) -> dict[UUID, Task]:
        """What the domain makes of what the log has."""
        loaded = await log.load_many(list(self._tasks))
        return {stream: evolved for stream, recorded in loaded.items() if (evolved := _folded(recorded)) is not None}


def _folded(recorded: list[Recorded]) -> Task | None:
    task: Task | None = None
    for event, at in events_of(recorded):
        task = evolve(task, event, at)
    return task
