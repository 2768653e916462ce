"""Functions in processes of their own: what comes back from there, what is said there, and how they are ended."""

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.runner.commands import Announced, exists
from tests.runner.in_process import app

from daybook import clock
from daybook.context import Context, RecordedContext
from daybook.manifest import Definition
from daybook.testing import eventually
from daybook_runner.executors import Call, Executors, Failure, Outcome, Success
from daybook_runner.executors.process import execute_in_process
from daybook_runner.loading import load


def call(name: str, given: Any = None, definition: Definition | None = None) -> Call:
    return Call(
        task_id="tsk_1", attempt=2, definition=definition or app.definitions[f"p.{name}"], input={} if given is None else given, deadline=clock.after(60)
    )


async def run(executors: Executors, name: str, given: Any = None, context: Context | None = None) -> Outcome:
    return await executors.execute(call(name, given), context or Context.for_test())


async def value_of(executors: Executors, name: str, given: Any = None) -> Any:
    outcome = await run(executors, name, given)
    assert isinstance(outcome, Success), outcome
    return json.loads(outcome.content)


async def failing(executors: Executors, name: str, given: Any = None) -> Failure:
    outcome = await run(executors, name, given)
    assert isinstance(outcome, Failure), outcome
    return outcome


def said(context: RecordedContext) -> list[Any]:
    return [message.fields.get("text", message.fields.get("message")) for message in context.said]


async def test_it_runs_in_another_process(executors: Executors) -> None:
    found = await value_of(executors, "area", {"size": {"width": 3, "name": "käse"}, "height": 5})
    assert (found["area"], found["name"]) == (15, "käse")
    assert found["pid"] != os.getpid()


@pytest.mark.parametrize("value", [None, 2**63, 10**40, 1.5, "a\ufffd\u202e", [[], {"a": {"": None}}], "x" * 300_000])
async def test_values_come_back_as_they_went(executors: Executors, value: Any) -> None:
    assert await value_of(executors, "give", {"value": value}) == value


async def test_other_results(executors: Executors) -> None:
    assert await run(executors, "give_bytes") == Success(content=b"\x00\xff", media_type="application/octet-stream")
    assert (await failing(executors, "give_nothing_that_is_json")).error_type == "UnserializableResult"


async def test_an_input_that_does_not_fit_starts_nothing(executors: Executors) -> None:
    failure = await failing(executors, "area", {"size": {"width": "3"}})
    assert (failure.error_type, failure.retryable) == ("InvalidInput", False)


async def test_the_context_works_there(executors: Executors) -> None:
    context = Context.for_test()
    outcome = await run(executors, "say", context=context)
    assert outcome == Success(content=b'"tsk_1 2 True False"')
    types = {(message.type, message.fields.get("level"), message.fields.get("text", message.fields.get("message"))) for message in context.said}
    assert types == {
        ("progress", None, "half\ufffdway"),
        ("chunk", None, "piece"),
        ("log", "info", "page.fetched"),
        ("chunk", None, "from a thread"),
        ("log", "info", "printed"),
        ("log", "warning", "mistaken"),
        ("log", "warning", "logged 1"),
    }
    assert context.said[0].fields["percent"] == 50.0


@pytest.mark.parametrize(
    ("kind", "error_type", "message"),
    [("value", "ValueError", "no \ufffd such\ufffd thing"), ("exit", "SystemExit", "3"), ("interrupt", "KeyboardInterrupt", "")],
)
async def test_what_is_raised_is_the_failure(executors: Executors, kind: str, error_type: str, message: str) -> None:
    failure = await failing(executors, "raise_it", {"kind": kind})
    assert (failure.error_type, failure.message) == (error_type, message)
    assert failure.traceback is not None
    assert "raise_it" in failure.traceback
    assert "inside.py" not in failure.traceback


@pytest.mark.parametrize(("manner", "says"), [("segfault", "was ended by SIGSEGV"), ("exit", "ended with exit code 7"), ("9", "was ended by SIGKILL")])
async def test_a_crash_is_a_failure_that_names_it(executors: Executors, manner: str, says: str) -> None:
    context = Context.for_test()
    outcome = await run(executors, "crash", {"manner": manner}, context)
    assert isinstance(outcome, Failure)
    assert outcome.error_type == "ProcessDied"
    assert outcome.message == f"the function's process {says}, and returned nothing"
    if manner == "segfault":
        assert any("in crash" in line for line in said(context))


async def test_what_a_function_leaves_behind_is_ended(executors: Executors) -> None:
    pid = int(await value_of(executors, "leave_children"))
    assert not exists(pid)


@pytest.mark.parametrize(("name", "last_words"), [("wait_and_look", "looked"), ("wait_and_speak", "spoke"), ("wait_deaf", "interrupted")])
async def test_a_cancelled_function_is_told(executors: Executors, name: str, last_words: str) -> None:
    context = Announced()
    task = asyncio.ensure_future(run(executors, name, context=context))
    await context.heard.wait()
    began = asyncio.get_running_loop().time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() - began < 2
    assert last_words in said(context)


async def test_one_that_does_not_let_go_is_killed_with_its_children() -> None:
    context = Announced()
    function = app.definitions["p.wait_stubbornly"].run.function  # type: ignore[union-attr]
    task = asyncio.ensure_future(execute_in_process(call("wait_stubbornly"), function, context, grace_seconds=0.1))
    await context.heard.wait()
    pids = [int(each) for each in said(context)[0].split()]
    assert all(exists(pid) for pid in pids)
    began = asyncio.get_running_loop().time()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.get_running_loop().time() - began < 0.1 + 1
    assert not any(exists(pid) for pid in pids)


async def test_functions_of_a_file_run_there_too(executors: Executors, tmp_path: Path) -> None:
    (tmp_path / "sister.py").write_text("def twice(n): return 2 * n\n")
    (tmp_path / "brother.py").write_text(
        "from daybook import App\nimport sister\napp = App('b')\n@app.task(process=True)\ndef double(n: int) -> int:\n    return sister.twice(n)\n"
    )
    definition = load([str(tmp_path)])["b.double"]
    assert await executors.execute(call("", {"n": 4}, definition), Context.for_test()) == Success(content=b"8")


RUNNER = """
import asyncio, sys
from daybook.context import Context
from daybook_runner.executors import Call, Executors
from tests.runner.commands import Announced, exists
from tests.runner.in_process import app

async def main():
    call = Call(task_id="tsk_1", attempt=1, definition=app.definitions["p.wait_stubbornly"], input={})
    tell = lambda kind, fields: print(fields["text"], flush=True)
    async with Executors() as executors:
        await executors.execute(call, Context(task_id="tsk_1", attempt=1, emit=tell, loop=asyncio.get_running_loop()))

if "uvloop" in sys.argv:
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_nothing_outlives_a_runner_that_is_killed(loop: str) -> None:
    runner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUNNER, loop),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert runner.stdout is not None
    pids = [int(each) for each in (await runner.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(exists(pid) for pid in pids)
    runner.send_signal(signal.SIGKILL)
    await runner.wait()
    await eventually(lambda: not any(exists(pid) for pid in pids))


ENDS: dict[str, list[Any]] = {
    "give": ["\x00\x1b[2J\u202e", float("inf"), 2**70, -0.0, {"": [None] * 1000}, [[[[]]]], "x" * 100_000],
    "give_much": [-1, 0, 10_000_000, 2**70],
    "raise_it": ["value", "exit", "interrupt", "\x00"],
    "crash": ["1", "6", "9", "11", "14", "15", "exit", "segfault", "x"],
    "area": [{"width": 3}, {"width": 10**40}, {"width": -(2**62), "name": "\ud7ff\x00"}],
}


async def test_hostile_payloads_all_have_an_end(executors: Executors) -> None:
    chance = random.Random(20_261_123)
    many = int(os.environ.get("HOSTILE_PAYLOADS", "60"))
    ends: dict[str, int] = {}
    arguments = {"give": "value", "give_much": "size", "raise_it": "kind", "crash": "manner", "area": "size"}
    left = [chance.choice(list(ENDS)) for _ in range(many)]

    async def work() -> None:
        while left:
            name = left.pop()
            # Now and then what belongs to another function.
            value = chance.choice(ENDS[name if chance.random() < 0.9 else chance.choice(list(ENDS))])
            async with asyncio.timeout(30):
                outcome = await run(executors, name, {arguments[name]: value})
            kind = outcome.error_type if isinstance(outcome, Failure) else "Success"
            ends[kind] = ends.get(kind, 0) + 1

    await asyncio.gather(*(work() for _ in range(6)))
    assert sum(ends.values()) == many
    assert {"Success", "InvalidInput", "ProcessDied", "ValueError", "SystemExit"} <= set(ends), ends
