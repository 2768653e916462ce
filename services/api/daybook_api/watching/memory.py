"""What the channels of a process hold of what was said, and how much that may be altogether.

A thousand channels with a few words each, or one with many: together they hold no more than was set aside for them.
What is let go is read again when somebody needs it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple, Self

from daybook.stored_output import Place, Word, word_of

_RINGS_BYTES: Final = 64 * 1024 * 1024
_LARGEST_RING_BYTES: Final = 512 * 1024
_SMALLEST_RING_BYTES: Final = 8 * 1024
_RUNS_BYTES: Final = 32 * 1024 * 1024


class Said(NamedTuple):
    """A word, spelled as an event less its id: that depends on who is told."""

    place: Place
    type: str
    tail: bytes

    @classmethod
    def of(cls, word: Word) -> Self:
        """This word."""
        return cls(word.place, word.type, b"event: %b\ndata: %b\n\n" % (word.type.encode(), word.data))

    @classmethod
    def parse(cls, message: bytes) -> "Said | None":
        """The word that a live message is, or None for anything else."""
        word = word_of(message)
        return None if word is None else cls.of(word)


class Run:
    """Some consecutive words of one attempt, and the list in which their channel finds them."""

    __slots__ = ("attempt", "bytes", "first", "home", "words")

    def __init__(self, words: Sequence[Said], home: "list[Run]") -> None:
        self.words = words
        self.home = home
        self.attempt, self.first = words[0].place
        self.bytes = sum(len(said.tail) for said in words)

    def after(self, place: Place, count: int) -> Sequence[Said]:
        """The next words right after a place; empty when they are not here."""
        attempt, number = place if place.attempt else (1, 0)
        skip = number + 1 - self.first
        return self.words[skip : skip + count] if attempt == self.attempt and skip >= 0 else ()


class Memory:
    """The room that all channels share."""

    def __init__(self) -> None:
        self.channels = 0
        self._runs: OrderedDict[Run, None] = OrderedDict()
        self.held_bytes = 0
        """How much the runs take."""

    def ring_bytes(self) -> int:
        """How much one channel may hold of what it hears."""
        return min(max(_RINGS_BYTES // max(self.channels, 1), _SMALLEST_RING_BYTES), _LARGEST_RING_BYTES)

    def hold(self, run: Run) -> None:
        """Keep a run that was read, and let go of those that were not needed for longest."""
        run.home.append(run)
        self._runs[run] = None
        self.held_bytes += run.bytes
        while self.held_bytes > _RUNS_BYTES and len(self._runs) > 1:
            self.drop([next(iter(self._runs))])

    def used(self, run: Run) -> None:
        """Somebody needs it."""
        self._runs.move_to_end(run)

    def drop(self, runs: Sequence[Run]) -> None:
        """Let go of these."""
        for run in list(runs):
            del self._runs[run]
            self.held_bytes -= run.bytes
            run.home.remove(run)


def follows(place: Place, other: Place) -> bool:
    """Whether the second word is the next of the same attempt, or the very first; what comes after the last word of an
    attempt can only be known once that has ended."""
    return other == (place.attempt, place.number + 1) or (place.attempt == 0 and other == (1, 1))
