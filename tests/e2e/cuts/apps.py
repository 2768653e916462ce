"""An app that speaks at length, and what it will have said: the same script for the one who says it and the one who checks.

Each attempt has a script of its own, so that a word of one attempt is never taken for a word of another.
"""

import asyncio
import random
from typing import Final, NamedTuple

from daybook import App, Context

app = App("cuts")

# What has broken a stream somewhere: line ends of every kind, what looks like a frame, quotes, and characters of two, three and four bytes.
_PIECES: Final = ("\n", "\n\n", "data: ", "\n\nevent: end\ndata: {}\n\n", '"', "\\", "\u2028", "ß", "é", "漢字", "🦆", "👩‍🚀", "id: 9.9.9\n", " ", "\t")
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz      "


class Line(NamedTuple):
    """One word of a script: its type, and its text (a chunk's text, or the message of another)."""

    type: str
    text: str


def script(seed: str, attempt: int, chunks: int) -> list[Line]:
    """All that an attempt says: so many chunks, and progress and log lines between them."""
    chance = random.Random(f"{seed}/{attempt}")
    lines = []
    for number in range(1, chunks + 1):
        lines.append(Line("chunk", _text(chance, f"{attempt}.{number} ")))
        if chance.random() < 0.08:
            lines.append(Line("progress", f"{number} of {chunks}"))
        if chance.random() < 0.05:
            lines.append(Line("log", f"said.{number}"))
    return lines


@app.task
async def tell(ctx: Context, seed: str, chunks: int, seconds: float) -> int:
    """Say the script of this attempt in bursts, spread over so many seconds."""
    lines = script(seed, ctx.attempt, chunks)
    chance = random.Random(f"{seed}/{ctx.attempt}/bursts")
    loop = asyncio.get_running_loop()
    began = loop.time()
    position = 0
    while position < len(lines):
        burst = lines[position : position + chance.choice((1, 2, 5, 20, 60))]
        for line in burst:
            match line.type:
                case "chunk":
                    ctx.chunk(line.text)
                case "progress":
                    ctx.progress(position, total=len(lines), message=line.text)
                case _:
                    ctx.log.info(line.text)
        position += len(burst)
        await asyncio.sleep(began + seconds * position / len(lines) - loop.time())
    return len(lines)


def _text(chance: random.Random, start: str) -> str:
    length = chance.choice((0, 3, 10, 40, 80)) if chance.random() < 0.98 else chance.randrange(500, 3000)
    words = "".join(chance.choices(_LETTERS, k=length))
    return start + words + "".join(chance.choices(_PIECES, k=chance.randrange(4)))
