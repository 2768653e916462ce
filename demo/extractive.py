"""A summariser that picks sentences: the ones whose words the rest of the text uses most. It is no language model, it
writes nothing of its own, and it says so under the name that it answers with.

It stands in where no model is given, so that a chat app can be shown on any machine, without a download.
"""

import re
from collections import Counter
from math import sqrt
from typing import Final

NAME: Final = "extractive-summariser-no-language-model"

_SENTENCE: Final = re.compile(r"[^.!?]+[.!?]+(?=\s|$)")
_WORD: Final = re.compile(r"[a-z]+")
_SHORTEST: Final = 4


def summarise(text: str, sentences: int = 3) -> str:
    """At most so many of the text's own sentences, in their order; the whole text where it has no more than that."""
    found = [" ".join(match.split()) for match in _SENTENCE.findall(text)]
    if len(found) <= sentences:
        return " ".join(found) or text.strip()
    counts = Counter(word for sentence in found for word in _words(sentence))
    best = sorted(range(len(found)), key=lambda number: (-_weight(found[number], counts), number))[:sentences]
    return " ".join(found[number] for number in sorted(best))


def _words(sentence: str) -> list[str]:
    return [word for word in _WORD.findall(sentence.lower()) if len(word) >= _SHORTEST]


def _weight(sentence: str, counts: Counter[str]) -> float:
    """How much of the text is about the sentence's words. The root keeps long sentences from winning by length alone."""
    words = set(_words(sentence))
    return sum(counts[word] for word in words) / sqrt(len(words) or 1)
