"""The console: whose line it is, and that a terminal that takes nothing holds up nobody."""

from __future__ import annotations

import io
import os
from pathlib import Path

from daybook_local.console import Console


def test_each_line_carries_the_name_of_its_process(tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(b"one\ntwo\r\n\xff")
    out = io.StringIO()
    console = Console(out)
    with open(tmp_path / "lines", "rb") as pipe:
        console.follow("api", pipe).join(5)
    console.say("daybook", "a\nb")
    console.close()
    assert out.getvalue().splitlines() == [
        "api       | one",
        "api       | two",
        "api       | \ufffd",
        "daybook   | a",
        "daybook   | b",
    ]


def test_colours_are_for_terminals_only() -> None:
    ours, theirs = os.openpty()
    with open(theirs, "w") as terminal:
        console = Console(terminal)
        console.say("api", "hello")
        console.close()
        assert os.read(ours, 1000) == b"\x1b[36mapi       |\x1b[0m hello\r\n"
    os.close(ours)


def test_a_terminal_that_takes_nothing_holds_up_nobody_and_is_told_what_it_missed() -> None:
    reading, writing = os.pipe()
    with open(reading) as pipe, open(writing, "w") as stuck:
        console = Console(stuck, capacity=10)
        for _ in range(100):  # The pipe takes 64 KiB, the queue ten lines; the rest must not block this loop.
            console.say("api", "x" * 10_000)
        shown = iter(pipe.readline, "")
        notice = next(line for line in shown if not line.startswith("api"))
        assert notice.startswith("daybook   | ")
        assert notice.endswith("lines not shown: the terminal was too slow\n")
        console.say("daybook", "back again")
        assert next(line for line in shown if line.startswith("daybook")).endswith("back again\n")


def test_a_terminal_that_is_gone_is_no_reason_to_fail() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    console = Console(os.fdopen(writing, "w"))
    for _ in range(3):
        console.say("api", "hello")
    console.close()
