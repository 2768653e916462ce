"""What user code prints and logs becomes log lines of the attempt that runs it, and of no other."""

from __future__ import annotations

import asyncio
import contextvars
import io
import logging
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import structlog

from daybook.testing import eventually
from daybook_runner import capture
from daybook_runner.capture import speaking


class Heard:
    """What one attempt said."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.thread = threading.get_ident()

    def emit(self, kind: str, fields: dict[str, Any]) -> None:
        assert kind == "log"
        assert threading.get_ident() == self.thread
        self.lines.append(fields)

    @property
    def messages(self) -> list[str]:
        return [line["message"] for line in self.lines]


class Outside:
    """Where what nobody says goes."""

    def __init__(self) -> None:
        self.stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        self.stderr = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)

    def install(self) -> Iterator[None]:
        """Put these in the place of the process' own, set logging up as a runner does, and capture."""
        root = logging.getLogger()
        before = sys.stdout, sys.stderr, root.handlers[:], root.level
        sys.stdout, sys.stderr = self.stdout, self.stderr
        root.handlers[:] = [logging.StreamHandler(self.stderr)]
        root.setLevel(logging.WARNING)
        configured = structlog.get_config()
        structlog.configure(
            processors=[structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
            logger_factory=structlog.WriteLoggerFactory(file=self.stderr),
            cache_logger_on_first_use=True,
        )
        structlog.get_logger("used before").info("runner.began")
        undo = capture.install()
        try:
            yield
        finally:
            undo()
            as_before = sys.stdout, sys.stderr
            sys.stdout, sys.stderr, root.handlers[:], level = before
            root.setLevel(level)
            structlog.configure(**configured)
            structlog.contextvars.clear_contextvars()
        assert as_before == (self.stdout, self.stderr)

    @property
    def texts(self) -> tuple[str, str]:
        return self._text(self.stdout), self._text(self.stderr)

    @staticmethod
    def _text(stream: io.TextIOWrapper) -> str:
        assert isinstance(stream.buffer, io.BytesIO)
        return stream.buffer.getvalue().decode()


Test: TypeAlias = Callable[[Outside], Awaitable[None]]


def captured(test: Test) -> Callable[[], Awaitable[None]]:
    """Run a test inside: a fixture would be too early, since pytest takes stdout for itself when the test begins."""

    async def run() -> None:
        outside = Outside()
        with contextmanager(outside.install)():
            await test(outside)

    return run


@captured
async def test_prints_become_log_lines(outside: Outside) -> None:
    heard = Heard()
    print("before")
    with speaking(heard.emit):
        print("one", 2)
        print("a\nb")
        print("half, ", end="")
        print("and half")
        print("careful", file=sys.stderr)
        sys.stdout.buffer.write("ß\n".encode())
        sys.stdout.flush()
        assert not sys.stdout.isatty()
        print("unfinished", end="")
    print("after")
    assert heard.messages == ["one 2", "a", "b", "half, and half", "careful", "ß", "unfinished"]
    assert [line["level"] for line in heard.lines] == ["info"] * 4 + ["warning"] + ["info"] * 2
    assert outside.texts[0] == "before\nafter\n"


@captured
async def test_what_paints_on_a_terminal_is_plain(outside: Outside) -> None:
    heard = Heard()
    with speaking(heard.emit):
        print("\x1b[1;31mred\x1b[0m \x1b]0;title\x07and \x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\")
        print("bell\x07 nul\x00 back\x08 c1\x9b31m lone\ud800 tab\t.")
        for percent in range(0, 101, 10):
            print(f"\r{percent:3}%", end="", file=sys.stderr)
        print(file=sys.stderr)
        print("windows\r\n", end="")
        sys.stdout.write("y" * 100_000 + "\n")
        print("\x1b]0;never ended")
        print("next")
    assert heard.messages == ["red and link", "bell\ufffd nul\ufffd back\ufffd c1 lone\ufffd tab\t.", "100%", "windows", *heard.messages[4:]]
    assert heard.messages[4:] == ["y" * 65_536, "y" * 34_464, "", "next"]


@captured
async def test_standard_logging_becomes_log_lines(outside: Outside) -> None:
    heard, logger = Heard(), logging.getLogger("shop.orders")
    logger.warning("outside %s", 1)
    logger.info("outside, and not heard")
    with speaking(heard.emit):
        logger.info("placed %d", 7, extra={"customer": "ann"})
        logger.debug("not heard")
        logger.critical("down")
        try:
            raise ValueError("no")
        except ValueError:
            logger.exception("failed")
        logger.warning("z" * 100_000)
    assert heard.lines.pop()["message"].endswith("z… (34564 characters were cut)")
    assert [(line["level"], line["message"]) for line in heard.lines] == [("info", "placed 7"), ("error", "down"), ("error", "failed")]
    assert heard.lines[0]["fields"] == {"logger": "shop.orders", "customer": "ann"}
    assert "ValueError: no" in heard.lines[2]["fields"]["exception"]
    assert [line for line in outside.texts[1].splitlines() if "runner.began" not in line] == ["outside 1"]


@captured
async def test_structlog_becomes_log_lines(outside: Outside) -> None:
    heard, logger = Heard(), structlog.get_logger("shop")
    structlog.contextvars.bind_contextvars(request="r1")
    with speaking(heard.emit):
        logger.warning("order.placed", number=7, who={"a", "b"} - {"b"})
        logger.bind(more=1).info("bound")
        try:
            raise ValueError("no")
        except ValueError:
            logger.exception("order.failed")
    logger.info("order.forgotten")
    assert [(line["level"], line["message"]) for line in heard.lines] == [("warning", "order.placed"), ("info", "bound"), ("error", "order.failed")]
    assert heard.lines[0]["fields"] == {"request": "r1", "number": 7, "who": ["a"]}
    assert heard.lines[1]["fields"] == {"request": "r1", "more": 1}
    assert "ValueError: no" in heard.lines[2]["fields"]["exception"]
    said = outside.texts[1]
    assert ("order.placed" in said, "order.forgotten" in said, "runner.began" in said) == (False, True, True)


@captured
async def test_warnings_become_log_lines(outside: Outside) -> None:
    heard = Heard()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with speaking(heard.emit):
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    (line,) = heard.lines
    assert (line["level"], line["message"]) == ("warning", "DeprecationWarning: old")
    assert "test_capture.py" in line["fields"]["at"]


@captured
async def test_attempts_at_the_same_time_do_not_mix(outside: Outside) -> None:
    async def attempt(heard: Heard, name: str, turns: asyncio.Barrier) -> None:
        with speaking(heard.emit):
            for number in range(3):
                print(f"{name} {number}", end="")
                await turns.wait()
                print("!")
                await asyncio.create_task(_say(f"child of {name}"))

    async def _say(words: str) -> None:
        print(words)

    first, second, turns = Heard(), Heard(), asyncio.Barrier(2)
    await asyncio.gather(attempt(first, "a", turns), attempt(second, "b", turns))
    assert first.messages == [text for number in range(3) for text in (f"a {number}!", "child of a")]
    assert second.messages == [text for number in range(3) for text in (f"b {number}!", "child of b")]


@captured
async def test_a_thread_speaks_for_the_attempt_whose_context_it_has(outside: Outside) -> None:
    heard = Heard()

    def work() -> None:
        print("in a thread")
        logging.getLogger("x").warning("logged there")
        other = threading.Thread(target=print, args=("by hand",))
        other.start()
        other.join()

    with speaking(heard.emit):
        await asyncio.to_thread(work)
    assert heard.messages == ["in a thread", "logged there"]
    assert outside.texts[0] == "by hand\n"


@captured
async def test_a_thread_that_outlives_its_attempt_speaks_for_nobody(outside: Outside) -> None:
    heard, go = Heard(), threading.Event()

    def work() -> None:
        print("in time")
        go.wait()
        print("too late")

    with speaking(heard.emit):
        context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(work,))
    with speaking(heard.emit):
        living = contextvars.copy_context()
        thread = threading.Thread(target=living.run, args=(work,))
        thread.start()
        await eventually(lambda: heard.messages)
    go.set()
    await asyncio.to_thread(thread.join)
    context.run(print, "too late as well")
    assert heard.messages == ["in time"]
    assert outside.texts[0] == "too late\ntoo late as well\n"


@captured
async def test_a_thread_that_floods_is_cut_and_that_is_told(outside: Outside) -> None:
    heard, filled, go = Heard(), threading.Event(), threading.Event()

    def work() -> None:
        for number in range(25_000):
            print(number)
        filled.set()

    with speaking(heard.emit):
        thread = threading.Thread(target=contextvars.copy_context().run, args=(work,))
        thread.start()
        # The loop does nothing else meanwhile.
        filled.wait(10)
        thread.join()
        await asyncio.to_thread(go.wait, 0)
        print("and on")
    assert heard.messages == [*map(str, range(20_000)), "the output was cut: 5000 lines dropped", "and on"]


@captured
async def test_a_line_without_end_is_told_in_parts(outside: Outside) -> None:
    heard = Heard()
    with speaking(heard.emit):
        for _ in range(10):
            print("x" * 10_000, end="")
    assert [len(message) for message in heard.messages] == [65_536, 34_464]
    assert "cut" not in "".join(heard.messages)


@captured
async def test_a_record_that_cannot_be_formatted_harms_nobody(outside: Outside) -> None:
    heard = Heard()
    with speaking(heard.emit):
        logging.getLogger("x").warning("%d", "not a number")
        print("goes on")
    assert heard.messages[-1] == "goes on"
