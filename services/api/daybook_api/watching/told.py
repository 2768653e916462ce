"""What one client has been told of a task, and what it is to be told next.

Facts and words are told in the order in which they happened: what an attempt said comes after the fact that it began
and before the fact that it ended. With that fact a client's place moves on to the next attempt: what this one says
afterwards, since it does not know yet that it was given up, is not told. What a client does not want is passed over, and
its place moves on all the same.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from daybook.domain.events import TaskStarted
from daybook.domain.status import TERMINAL, Status
from daybook.stored_output import TYPES, Place

from . import sse
from .channel import ENDINGS, Channel, Fact
from .memory import Said
from .words import Words

FACT_NAMES: Final = frozenset({*(f"task.{status}" for status in Status), "task.cancel_requested"})
"""What facts are called in a stream: by the status that they lead to, or by what happened where that stays."""

_END: Final = ".end"
_ENCODE: Final = msgspec.json.Encoder().encode


class Seen(NamedTuple):
    """How far a client has got: the version of the task, the last word, and whether it was told the end of all that."""

    version: int = 0
    word: Place = Place()
    end: bool = False

    @classmethod
    def parse(cls, text: str | None) -> "Seen":
        """The place behind an event id; the beginning for anything else."""
        place, said_end, rest = (text or "").strip().partition(_END)
        parts = place.split(".")
        if rest or len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
            return cls()
        return cls(int(parts[0]), Place(int(parts[1]), int(parts[2])), bool(said_end))

    def __str__(self) -> str:
        return f"{self.version}.{self.word.attempt}.{self.word.number}{_END if self.end else ''}"

    def line(self) -> bytes:
        """This place as the first line of an event."""
        return f"id: {self}\n".encode()


class Wanted:
    """What a client wants to be told: facts and words by their names, everything unless it says so."""

    def __init__(self, names: frozenset[str] | None = None) -> None:
        self._names = names
        self.words = names is None or not names.isdisjoint(TYPES)
        """Whether it wants any words at all; if not, none are followed."""

    def __contains__(self, name: str) -> bool:
        return self._names is None or name in self._names or (name.startswith("task.") and "task" in self._names)


class Telling:
    """One client's way through the stream of a task."""

    def __init__(self, channel: Channel, words: Words | None, wanted: Wanted, task_id: str, seen: Seen, version: int) -> None:
        """`seen` is what a client says that comes back; `version` is that of the snapshot, which for any other stands for the facts so far."""
        self.seen = self._said = Seen(seen.version or version, seen.word)
        self.is_over = False
        """Whether the end was told."""
        self._channel = channel
        self._words = words
        self._wanted = wanted
        self._task_id = task_id
        self._attempt = 0
        self._status: Status | None = None
        for fact in channel.facts[: self.seen.version]:
            self._note(fact)

    def snapshot(self, tail: bytes) -> bytes:
        """The snapshot for this client."""
        return self._frame(tail)

    def heartbeat(self) -> bytes:
        """A sign of life; with a place, if the client's has moved on unseen."""
        if self._said == self.seen:
            return sse.HEARTBEAT
        self._said = self.seen
        return sse.heartbeat(self.seen)

    async def news(self) -> bytes:
        """What comes next, at most about one piece of it; empty when everything was told."""
        out: list[bytes] = []
        size = 0
        while size < sse.PIECE_BYTES and not self.is_over:
            told = len(out)
            fact = self._next_fact()
            ends = self._status in TERMINAL if fact is None else isinstance(fact.event, ENDINGS)
            if self._words is not None and await self._tell_words(out, sse.PIECE_BYTES - size, to_the_last=ends):
                pass
            elif fact is not None:
                self._tell_fact(out, fact)
            elif ends:
                out.append(self._end())
            else:
                break
            size += sum(map(len, out[told:]))
        return b"".join(out) if len(out) != 1 else out[0]

    def _next_fact(self) -> Fact | None:
        """The next fact that is told."""
        facts = self._channel.facts
        for index in range(self.seen.version, len(facts)):
            if facts[index].event is not None:
                return facts[index]
        return None

    async def _tell_words(self, out: list[bytes], room_bytes: int, *, to_the_last: bool) -> bool:
        """Tell the next words of the attempts that have begun; false when there are none. With `to_the_last` there will be no
        others from these, and none is left out."""
        words = self._words
        assert words is not None
        found = words.heard(self.seen.word)
        if found is None or (to_the_last and not self._concern(found)):
            found = await words.stored(self.seen.word)
            await asyncio.sleep(0)  # what was read before is there at once, and a long story is no reason to let nobody else speak
        told = False
        for said in found:
            if said.place.attempt > self._attempt or room_bytes <= 0:
                break
            room_bytes -= len(said.tail)
            self._tell_word(out, said)
            told = True
        return told

    def _concern(self, found: Sequence[Said]) -> bool:
        return len(found) > 0 and found[0].place.attempt <= self._attempt

    def _tell_word(self, out: list[bytes], said: Said) -> None:
        before, self.seen = self.seen.word, Seen(self.seen.version, said.place)
        if not before.leads_to(said.place):
            first = before.number + 1 if before.attempt == said.place.attempt else 1
            gap = _ENCODE({"attempt": said.place.attempt, "from": first, "to": said.place.number - 1})
            out.append(sse.frame("gap", gap))
        if said.type in self._wanted:
            out.append(self._frame(said.tail))

    def _tell_fact(self, out: list[bytes], fact: Fact) -> None:
        self._note(fact)
        word = self.seen.word
        if isinstance(fact.event, ENDINGS) and self._words is not None:
            word = max(word, Place(self._attempt + 1))
        self.seen = Seen(fact.recorded.version, word)
        if fact.name in self._wanted:
            out.append(self._frame(fact.tail))

    def _end(self) -> bytes:
        self.is_over = True
        self.seen = self.seen._replace(end=True)
        data = _ENCODE({"status": self._status, "result": f"/v1/tasks/{self._task_id}/result"})
        return self._frame(b"event: end\ndata: %b\n\n" % data)

    def _frame(self, tail: bytes) -> bytes:
        self._said = self.seen
        return self.seen.line() + tail

    def _note(self, fact: Fact) -> None:
        """A fact was told, now, before, or by the snapshot."""
        self._status = fact.status or self._status
        if isinstance(fact.event, TaskStarted):
            self._attempt = fact.event.attempt
