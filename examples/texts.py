"""Statistics of a text: a plain function that computes for a while, and says how far it is.

    daybook run texts.statistics text=@book.txt --watch

It is no `async def`, since it waits for nothing: such a function runs in a thread of its own, and calls `ctx.progress`
without `await`.
"""

import re
from collections import Counter
from typing import Annotated

import msgspec

from daybook import App, Context

app = App("texts")

PART_LENGTH = 20_000
WORDS_PER_MINUTE = 238  # silent reading of English non-fiction: Brysbaert 2019, https://doi.org/10.1016/j.jml.2019.104047

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_SENTENCE_END = re.compile(r"[.!?…]+(?=[\s\"'\u201d\u2019)\]]|$)")


class WordCount(msgspec.Struct, frozen=True, kw_only=True):
    """A word, and how often it occurs."""

    word: str
    count: int


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to count in a text."""

    characters: int
    words: int
    different_words: int
    sentences: int
    most_common: list[WordCount]
    reading_minutes: float


@app.task(timeout="10m")
def statistics(
    text: Annotated[str, msgspec.Meta(min_length=1, description="The text itself")],
    ctx: Context,
    most_common: Annotated[int, msgspec.Meta(ge=0, le=100, description="How many of the most common words to list")] = 10,
    shortest: Annotated[int, msgspec.Meta(ge=1, le=20, description="The length of the shortest word to list")] = 4,
) -> Statistics:
    """Count the words and sentences of a text, list its most common words, and say how long it takes to read."""
    counts: Counter[str] = Counter()
    sentences = 0
    read = 0
    for number, part in enumerate(parts(text), start=1):
        counts.update(word.lower() for word in _WORD.findall(part))
        sentences += len(_SENTENCE_END.findall(part))
        read += len(part)
        ctx.progress(read, total=len(text), message=f"part {number} read")
    words = counts.total()
    listed = [(word, count) for word, count in counts.most_common() if len(word) >= shortest][:most_common]
    ctx.log.info("text.counted", words=words, different_words=len(counts))
    return Statistics(
        characters=len(text),
        words=words,
        different_words=len(counts),
        sentences=sentences,
        most_common=[WordCount(word=word, count=count) for word, count in listed],
        reading_minutes=round(words / WORDS_PER_MINUTE, 1),
    )


def parts(text: str) -> list[str]:
    """The text in parts of about PART_LENGTH characters, cut where there is white space, so that no word is."""
    found: list[str] = []
    start = 0
    while start < len(text):
        gap = re.compile(r"\s").search(text, start + PART_LENGTH)
        end = gap.end() if gap else len(text)
        found.append(text[start:end])
        start = end
    return found
