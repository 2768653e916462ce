"""Houses with one wall taken out, to see whether the checker notices.

Each mutant replaces a function of the product in the processes that it is started in (`launch`), some of them a check of the database as well.
Each names the faults that bring its weakness out. `zombies` is the control: it takes down the walls in front of the attempt
check (a runner ends when its lease does, the database refuses reports of strangers) and must stay unnoticed, since the attempt check itself holds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from daybook import ids
from daybook.bus.jetstream import Bus
from daybook.bus.pages import Message
from daybook.domain import task as rules
from daybook.domain.refusals import NotAllowed
from daybook.domain.status import Status
from daybook.log.envelope import Append, Appended, Conflict
from daybook.log.writer import Writer
from daybook.relay import Relay

_BLIND_RETRIES: Final = 8


class Wall(NamedTuple):
    """A check of the database: what is replaced in the definition of which function."""

    function: str
    old: str
    new: str


class Mutant(NamedTuple):
    """What is taken out, which faults show it, whether the checker is to notice, and what is taken out of the database."""

    maim: Callable[[], None]
    faults: tuple[str, ...]
    caught: bool = True
    wall: Wall | None = None


def zombies() -> None:
    """A runner whose lease ran out goes on as if nothing had happened."""
    from daybook_runner.lease import Lease, LeaseLost

    async def keep(self: Lease) -> None:
        while True:
            await asyncio.sleep(self._renew_seconds)
            with contextlib.suppress(LeaseLost):
                await self._renew()

    _replace(Lease, "keep", keep)


def no_attempt_check() -> None:
    """Whatever attempt a report is about, it counts while the task runs."""

    def unfenced(task: rules.Task, attempt: int, wanted: str) -> Any:
        return None if task.status is Status.RUNNING else NotAllowed(status=task.status, wanted=wanted)

    _replace(rules, "_fenced", unfenced)
    zombies()


def no_reaper() -> None:
    """Nobody ever says that an attempt is lost."""
    append = Writer.append

    def refuse_losses(self: Writer, append_: Append) -> asyncio.Future[Appended]:
        if append_.kind != "task.lost.v1":
            return append(self, append_)
        refused: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        refused.set_exception(Conflict("somebody else was faster, as always"))
        return refused

    _replace(Writer, "append", refuse_losses)


def constant_msg_id() -> None:
    """All facts are told under the same id."""
    message = Relay._message

    def same_id(self: Relay, recorded: Any, largest_bytes: int) -> Message:
        told = message(self, recorded, largest_bytes)
        fact_id = ids.spell("evt", recorded.id)
        return told._replace(headers=told.headers.replace(f"Nats-Msg-Id: {fact_id}", "Nats-Msg-Id: always-the-same"))

    _replace(Relay, "_message", same_id)


def publish_before_commit() -> None:
    """A fact is told when it is about to happen."""
    buses: list[Bus] = []
    begin, append = Bus.__init__, Writer.append

    def remember(self: Bus, *arguments: Any, **named: Any) -> None:
        begin(self, *arguments, **named)
        buses.append(self)

    async def tell_first(writer: Writer, append_: Append) -> Appended:
        for bus in buses:
            if bus.is_connected:
                fact_id = ids.spell("evt", append_.id)
                headers = {"Nats-Msg-Id": fact_id, "ce-id": fact_id, "ce-type": append_.kind, "ce-sequence": str(append_.version)}
                subject = f"daybook.default.system.fact.early.{ids.spell('tsk', append_.stream)}.early"
                await (await bus.connected()).publish(subject, append_.data, headers=headers)
        return await append(writer, append_)

    def append_later(self: Writer, append_: Append) -> asyncio.Future[Appended]:
        return asyncio.ensure_future(tell_first(self, append_))

    _replace(Bus, "__init__", remember)
    _replace(Writer, "append", append_later)


def blind_retry() -> None:
    """What lost its race is appended again as it was, one version later."""
    append = Writer.append

    async def insist(writer: Writer, append_: Append) -> Appended:
        for _ in range(_BLIND_RETRIES if append_.version > 1 else 0):
            try:
                return await append(writer, append_)
            except Conflict:
                append_ = append_._replace(version=append_.version + 1)
        return await append(writer, append_)

    def append_anyway(self: Writer, append_: Append) -> asyncio.Future[Appended]:
        return asyncio.ensure_future(insist(self, append_))

    _replace(Writer, "append", append_anyway)


def _replace(owner: object, name: str, by: object) -> None:
    assert hasattr(owner, name), f"{owner} has no {name} any more: this mutant maims nothing"
    setattr(owner, name, by)


_STRANGERS: Final = Wall(function="log.append_runner", old="IF foreign_rows > 0", new="IF false")

MUTANTS: Final = {
    "zombies": Mutant(zombies, ("runner_frozen_twice_ttl", "runner_frozen_twice_ttl"), caught=False, wall=_STRANGERS),
    "no_attempt_check": Mutant(no_attempt_check, ("runner_frozen_twice_ttl",) * 3, wall=_STRANGERS),
    "no_reaper": Mutant(no_reaper, ("runner_killed",)),
    "constant_msg_id": Mutant(constant_msg_id, ("nothing",)),
    "publish_before_commit": Mutant(publish_before_commit, ("everything_duplicated",)),
    "blind_retry": Mutant(blind_retry, ("nothing", "everything_duplicated")),
}
