"""What one watcher of one task was told over all its connections, and what must be true of it.

While it is told: each version follows the one before, each word the one before it in its attempt, or a gap says which
are missing; a word comes after its attempt has begun and before it has ended; the end comes once, and last.

Afterwards, against what is stored: of an attempt that ended by itself, the words told are those stored, and the chunks
put together are the stored output byte for byte. Of an attempt whose runner was killed, the last words may have been
heard and never stored: then the stored ones come first, and what was heard beyond them is what the attempt did say.
A gap may be only where nothing is stored. The first thing that is wrong is an AssertionError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.e2e.cuts.apps import Line


class Fact(NamedTuple):
    """One event of the task's log."""

    version: int
    kind: str


class Stored(NamedTuple):
    """What the API answers about one task when all is over: its events, and for each attempt the words, the text of its
    output, and how it ended."""

    facts: list[Fact]
    words: Mapping[int, Sequence[Line]]
    text: Mapping[int, bytes]
    outcome: Mapping[int, str]


class Account:
    """The account of one watcher. Each method but the last notes what was told, and refuses what may not be."""

    def __init__(self, task_id: str, *, interleaved: bool = True) -> None:
        """`interleaved`: facts and words come in one order, as they do in a stream."""
        self.task_id = task_id
        self.facts: list[Fact] = []
        self.words: dict[int, dict[int, Line]] = {}
        self.gaps: list[tuple[int, int, int]] = []
        self.version = 0
        self.ended = ""
        self.said = 0
        """How many words were told."""
        self._interleaved = interleaved
        self._begun = 0
        self._over = 0
        self._last = (0, 0)
        self._before_gap: tuple[int, int] | None = None

    def snapshot(self, version: int, attempt: int) -> None:
        """The state at the beginning of a connection; the first one stands for the facts so far."""
        assert version >= self.version, self._wrong(f"a snapshot of version {version} after {self.version} was told")
        if self._before_gap is not None:
            self._last, self._before_gap = self._before_gap, None
            self.gaps.pop()
        if not self.version:
            self.version = version
            self._begun = attempt

    def fact(self, fact: Fact, attempt: int, *, begins: bool, ends: bool) -> None:
        """An event of the task."""
        assert not self.ended, self._wrong(f"version {fact.version} after the end")
        assert fact.version == self.version + 1, self._wrong(f"version {fact.version} after {self.version}")
        self.version = fact.version
        self.facts.append(fact)
        if begins:
            self._begun = attempt
        if ends:
            self._over = attempt

    def word(self, attempt: int, number: int, line: Line) -> None:
        """Something an attempt said."""
        before, last = self._last
        assert not self.ended, self._wrong(f"word {attempt}.{number} after the end")
        assert number == (last + 1 if attempt == before else 1), self._wrong(f"word {attempt}.{number} after {before}.{last}")
        assert attempt >= before, self._wrong(f"word {attempt}.{number} after {before}.{last}")
        if self._interleaved:
            assert self._over < attempt <= self._begun, self._wrong(f"word {attempt}.{number} while attempt {self._begun} ran")
        self._last, self._before_gap = (attempt, number), None
        self.words.setdefault(attempt, {})[number] = line
        self.said += 1

    def gap(self, attempt: int, first: int, last: int, *, advances: bool = True) -> None:
        """Words that nobody has any more. Where it `advances` nothing, it is undone if the connection ends before the word that it leads to."""
        before, number = self._last
        assert attempt >= before, self._wrong(f"a gap in attempt {attempt} after {before}.{number}")
        assert first == (number + 1 if attempt == before else 1), self._wrong(f"a gap from {attempt}.{first} after {before}.{number}")
        assert last >= first, self._wrong(f"a gap from {first} to {last}")
        self.gaps.append((attempt, first, last))
        self._before_gap = None if advances else self._last
        self._last = attempt, last

    def end(self, status: str) -> None:
        """The last that is told."""
        assert not self.ended, self._wrong("a second end")
        self.ended = status

    def settle(self, stored: Stored, scripts: Mapping[int, Sequence[Line]]) -> None:
        """Compare with what is stored, and with what each attempt was to say."""
        first = self.facts[0].version if self.facts else self.version + 1
        assert self.facts == stored.facts[first - 1 :], self._wrong(f"facts told: {self.facts}, stored: {stored.facts}")
        assert self.version == len(stored.facts), self._wrong(f"told up to version {self.version} of {len(stored.facts)}")
        for attempt, outcome in stored.outcome.items():
            kept, script = stored.words.get(attempt, ()), scripts[attempt]
            assert list(kept) == list(script[: len(kept)]), self._wrong(f"what is stored of attempt {attempt} is not what it said")
            assert stored.text.get(attempt, b"") == _text(kept), self._wrong(f"the output of attempt {attempt} is not its chunks")
            self._settle_attempt(attempt, kept, script, whole=outcome != "lost")
        assert self.words.keys() <= stored.outcome.keys(), self._wrong("words of attempts that never were")

    def _settle_attempt(self, attempt: int, kept: Sequence[Line], script: Sequence[Line], *, whole: bool) -> None:
        told = self.words.get(attempt, {})
        missing = {number for each, first, last in self.gaps if each == attempt for number in range(first, last + 1)}
        needless = [number for number in missing if number <= len(kept)]
        assert not needless, self._wrong(f"gaps in attempt {attempt} where words are stored: {_ranges(self.gaps, attempt)}; stored up to {len(kept)}")
        assert told.keys() | missing >= set(range(1, len(kept) + 1)), self._wrong(f"attempt {attempt}: {len(kept)} words are stored, {len(told)} were told")
        for number, line in told.items():
            assert line == script[number - 1], self._wrong(f"word {attempt}.{number} was told as {line}, and said as {script[number - 1]}")
        if whole:
            assert len(kept) == len(script), self._wrong(f"attempt {attempt} said {len(script)} words, and {len(kept)} are stored")
            assert len(told) == len(kept), self._wrong(f"attempt {attempt}: {len(told)} words told, {len(kept)} stored")
            assert _text([told[number] for number in sorted(told)]) == _text(kept), self._wrong(f"attempt {attempt}: another text")

    def _wrong(self, what: str) -> str:
        return f"{self.task_id}: {what}"


def _text(lines: Sequence[Line]) -> bytes:
    return "".join(line.text for line in lines if line.type == "chunk").encode()


def _ranges(gaps: Sequence[tuple[int, int, int]], attempt: int) -> list[str]:
    return [f"{first}-{last}" for each, first, last in gaps if each == attempt]
