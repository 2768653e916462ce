"""What an attempt can say while it runs, from the event loop and from a thread."""

import asyncio
import math
import threading
from typing import Any

import msgspec
import pytest

from daybook.context import Context


async def test_what_is_said_is_said_before_it_is_awaited() -> None:
    ctx = Context.for_test()
    said = ctx.progress(30, total=120, message="resizing")
    assert ctx.said == [("progress", {"current": 30, "total": 120, "percent": 25.0, "message": "resizing"})]
    await said
    await ctx.chunk("once upon")
    assert ctx.said[1:] == [("chunk", {"text": "once upon"})]


async def test_awaiting_gives_everything_else_a_turn() -> None:
    ctx = Context.for_test()
    other = asyncio.create_task(_nothing())
    await ctx.chunk("…")
    assert other.done()


async def _nothing() -> None:
    return


@pytest.mark.parametrize(("current", "total", "percent"), [(1, 3, 33.3), (5, None, None), (5, 0, None), (9, 3, 100.0), (-1, 3, 0.0)])
def test_percent(current: float, total: float | None, percent: float | None) -> None:
    ctx = Context.for_test()
    ctx.progress(current, total)
    assert ctx.said[0].fields["percent"] == percent


def test_log_lines_carry_their_fields() -> None:
    ctx = Context.for_test()
    ctx.log.bind(page=3).info("page.fetched", size=10, odd={1})
    assert ctx.said == [("log", {"level": "info", "message": "page.fetched", "fields": {"page": 3, "size": 10, "odd": [1]}})]


def test_a_logged_exception_has_its_traceback() -> None:
    ctx = Context.for_test()
    try:
        raise ValueError("no such page")
    except ValueError:
        ctx.log.exception("page.failed", page=3)
    line = ctx.said[0].fields
    assert line["level"] == "error"
    assert line["fields"]["page"] == 3
    assert line["fields"]["exception"].endswith("ValueError: no such page")


def test_what_is_said_is_made_fit_for_json() -> None:
    ctx = Context.for_test()
    ctx.chunk("a\x00\ud800")
    ctx.progress(1, message="\x00")
    ctx.log.warning("\x00", it="\ud800", thing=object)
    assert ctx.said[0].fields == {"text": "a\ufffd\ufffd"}
    assert ctx.said[1].fields["message"] == "\ufffd"
    assert ctx.said[2].fields["message"] == "\ufffd"
    assert ctx.said[2].fields["fields"] == {"it": "\ufffd", "thing": "<class 'object'>"}


def test_the_idempotency_key_is_the_same_for_every_attempt() -> None:
    assert Context.for_test(attempt=1).idempotency_key == Context.for_test(attempt=2).idempotency_key


async def test_a_thread_speaks_in_the_loop_s_own_thread_and_in_order() -> None:
    heard: list[tuple[str, int]] = []

    def emit(kind: str, fields: dict[str, Any]) -> None:
        heard.append((fields.get("text", kind), threading.get_ident()))

    ctx = Context(task_id="tsk_1", attempt=1, emit=emit, loop=asyncio.get_running_loop())

    def work() -> None:
        ctx.chunk("first")
        ctx.log.info("second")
        ctx.chunk("third")

    await asyncio.to_thread(work)
    here = threading.get_ident()
    assert heard == [("first", here), ("log", here), ("third", here)]


async def test_a_cancelled_thread_is_told_when_it_speaks() -> None:
    ctx = Context(task_id="tsk_1", attempt=1, emit=lambda kind, fields: None, loop=asyncio.get_running_loop())
    ctx.mark_cancelled()
    ended: list[str] = []

    def work() -> None:
        assert ctx.cancelled
        try:
            ctx.progress(1)
        except asyncio.CancelledError:
            ended.append("told")

    await asyncio.to_thread(work)
    assert ended == ["told"]
    ctx.progress(1)  # in the loop itself nothing is raised: asyncio interrupts by its own means


@pytest.mark.parametrize(
    ("current", "total", "shown"),
    [
        (math.nan, 10, (0, 10, 0.0)),
        (math.inf, math.inf, (0, None, None)),
        (10**5000, 10**5000, (0, None, None)),
        (3, math.nan, (3, None, None)),
        (3, -(10**400), (3, None, None)),
        (5e-324, 5e-324, (5e-324, 5e-324, 100.0)),
        (True, 2, (1, 2, 50.0)),
        (1e15, 1e-300, (1e15, 1e-300, 100.0)),
    ],
    ids=["NaN", "infinite", "enormous", "of NaN", "of less than nothing", "tiny", "a boolean", "beyond"],
)
def test_a_progress_of_any_number_can_be_told(current: float, total: float, shown: tuple[Any, ...]) -> None:
    context = Context.for_test()
    context.progress(current, total=total)
    fields = context.said[-1].fields
    assert (fields["current"], fields["total"], fields["percent"]) == shown
    msgspec.json.encode(fields)


def test_words_that_cannot_be_shown_are_told_as_such() -> None:
    class Silent:
        def __str__(self) -> str:
            raise SystemExit(3)

        __repr__ = __str__

    class Text(str):
        __slots__ = ()

    context = Context.for_test()
    context.progress(1, message=Silent())  # type: ignore[arg-type]
    context.log.info(Silent(), **{"what\x00": Silent(), "key": {Silent(): 1}})  # type: ignore[arg-type]
    context.chunk(Text("a\x00"))
    assert [each.fields.get("message") for each in context.said] == ["(cannot be shown: SystemExit)"] * 2 + [None]
    assert context.said[-1].fields == {"text": "a\ufffd"}
    msgspec.json.encode([each.fields for each in context.said])
    with pytest.raises(TypeError, match="a chunk is text"):
        context.chunk(b"bytes")  # type: ignore[arg-type]
