"""Python apps: what functions return and raise, in the event loop and in threads."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from daybook.apps import App
from daybook.context import Context
from daybook_runner.executors import Call, Executors, Failure, Outcome, Success

app = App("t")


class Size(msgspec.Struct):
    width: int
    name: str


class Shy(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest_asyncio.fixture(scope="session")
async def executors() -> AsyncIterator[Executors]:
    async with Executors(threads=2) as made:
        yield made


def call(name: str, given: Any = None) -> Call:
    return Call(task_id="tsk_1", attempt=1, definition=app.definitions[f"t.{name}"], input={} if given is None else given)


async def run(executors: Executors, name: str, given: Any = None, context: Context | None = None) -> Outcome:
    return await executors.execute(call(name, given), context or Context.for_test())


async def failing(executors: Executors, name: str, given: Any = None) -> Failure:
    outcome = await run(executors, name, given)
    assert isinstance(outcome, Failure), outcome
    return outcome


RESULTS: dict[str, Any] = {
    "text": "käse",
    "unsafe": "a\x00\ud800",
    "nan": [float("nan"), 1.5],
    "nothing": None,
    "struct": Size(3, "x"),
    "mapping": {1: "a"},
    "binary": b"\x00\xff",
    "view": memoryview(b"abc"),
    "thing": object(),
}


@app.task
async def give(name: str) -> Any:
    return RESULTS[name]


@app.task
def give_from_a_thread(name: str) -> Any:
    return RESULTS[name]


@pytest.mark.parametrize("function", ["give", "give_from_a_thread"])
@pytest.mark.parametrize(
    ("name", "content", "media_type"),
    [
        ("text", '"käse"', "application/json"),
        ("unsafe", '"a\ufffd\ufffd"', "application/json"),
        ("nan", "[null,1.5]", "application/json"),
        ("nothing", "null", "application/json"),
        ("struct", '{"width":3,"name":"x"}', "application/json"),
        ("mapping", '{"1":"a"}', "application/json"),
        ("binary", b"\x00\xff", "application/octet-stream"),
        ("view", b"abc", "application/octet-stream"),
    ],
)
async def test_results(executors: Executors, function: str, name: str, content: str | bytes, media_type: str) -> None:
    expected = content if isinstance(content, bytes) else content.encode()
    assert await run(executors, function, {"name": name}) == Success(content=expected, media_type=media_type)


@pytest.mark.parametrize("function", ["give", "give_from_a_thread"])
async def test_a_result_without_a_json_form(executors: Executors, function: str) -> None:
    failure = await failing(executors, function, {"name": "thing"})
    assert failure.error_type == "UnserializableResult"
    assert "object" in failure.message


ERRORS: dict[str, Callable[[], BaseException]] = {
    "value": lambda: ValueError("no \x00 such\ud800 thing"),
    "exit": lambda: SystemExit(3),
    "stop": lambda: StopIteration("of an iterator"),
    "shy": Shy,
    "cancelled": asyncio.CancelledError,
    "long": lambda: ValueError("x" * 100_000),
}


def fail_inside(kind: str) -> None:
    raise ERRORS[kind]()


@app.task
async def fail(kind: str) -> None:
    fail_inside(kind)


@app.task
def fail_in_a_thread(kind: str) -> None:
    fail_inside(kind)


@pytest.mark.parametrize("function", ["fail", "fail_in_a_thread"])
@pytest.mark.parametrize(
    ("kind", "error_type", "message"),
    [
        ("value", "ValueError", "no \ufffd such\ufffd thing"),
        ("exit", "SystemExit", "3"),
        ("shy", "Shy", "(cannot be shown: RuntimeError)"),
        ("cancelled", "CancelledError", ""),
        ("long", "ValueError", "x" * 4000),
    ],
)
async def test_errors(executors: Executors, function: str, kind: str, error_type: str, message: str) -> None:
    failure = await failing(executors, function, {"kind": kind})
    assert (failure.error_type, failure.message) == (error_type, message)
    assert failure.traceback is not None
    assert len(failure.traceback.encode()) <= 32 * 1024
    assert "in fail_inside" in failure.traceback
    assert "\x00" not in failure.traceback
    assert "daybook_runner" not in failure.traceback


async def test_stop_iteration_gets_out_of_a_thread(executors: Executors) -> None:
    async with asyncio.timeout(5):
        assert (await failing(executors, "fail_in_a_thread", {"kind": "stop"})).error_type == "StopIteration"
        assert (await failing(executors, "fail", {"kind": "stop"})).error_type == "RuntimeError"


@app.task
async def dig(depth: int) -> None:
    if depth == 0:
        raise ValueError("at the bottom")
    try:
        await dig(depth - 1)
    except ValueError as error:
        raise ValueError(f"at {depth}") from error


async def test_a_long_traceback_keeps_both_its_ends(executors: Executors) -> None:
    traceback = (await failing(executors, "dig", {"depth": 100})).traceback
    assert traceback is not None
    assert 30 * 1024 < len(traceback.encode()) <= 32 * 1024
    assert "ValueError: at the bottom" in traceback
    assert traceback.endswith("ValueError: at 100\n")
    assert "(cut)" in traceback


@app.task
async def double(n: int) -> int:
    return 2 * n


@pytest.mark.parametrize("given", [{}, {"n": "2"}, {"n": 2, "m": 1}, [], None])
async def test_bad_input_never_reaches_the_function(executors: Executors, given: Any) -> None:
    wrong = Call(task_id="tsk_1", attempt=1, definition=app.definitions["t.double"], input=given)
    outcome = await executors.execute(wrong, Context.for_test())
    assert isinstance(outcome, Failure)
    assert outcome.error_type == "InvalidInput"
    assert outcome.traceback is None


@app.task
def speak(ctx: Context) -> str:
    for number in range(3):
        ctx.progress(number + 1, total=3)
    ctx.log.info("work.done")
    return threading.current_thread().name


async def test_a_function_in_a_thread_says_how_far_it_is(executors: Executors) -> None:
    heard: list[Any] = []
    here = threading.get_ident()

    def emit(kind: str, fields: dict[str, Any]) -> None:
        assert threading.get_ident() == here
        heard.append(fields.get("percent", kind))

    context = Context(task_id="tsk_1", attempt=1, emit=emit, loop=asyncio.get_running_loop())
    outcome = await run(executors, "speak", context=context)
    assert isinstance(outcome, Success)
    assert b"daybook-task" in outcome.content
    assert heard == [33.3, 66.7, 100.0, "log"]


WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


@app.task
def who() -> str:
    return WHO.get()


async def test_a_thread_sees_the_context_variables(executors: Executors) -> None:
    token = WHO.set("ada")
    outcome = await run(executors, "who")
    WHO.reset(token)
    assert outcome == Success(content=b'"ada"')


started = asyncio.Event()
let_go = threading.Event()
entered: Future[Context] = Future()
ended: Future[str] = Future()


@app.task
async def wait_for_ever() -> None:
    started.set()
    await asyncio.Event().wait()


@app.task
def work_until_told(ctx: Context) -> None:
    entered.set_result(ctx)
    let_go.wait()
    try:
        ctx.progress(1)
    except BaseException as error:
        ended.set_result(type(error).__name__)
        raise


async def test_a_cancel_passes_through(executors: Executors) -> None:
    context = Context.for_test()
    running = asyncio.create_task(run(executors, "wait_for_ever", context=context))
    await started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert context.cancelled


async def test_a_cancelled_thread_is_left_and_told(executors: Executors) -> None:
    context = Context(task_id="tsk_1", attempt=1, emit=lambda kind, fields: None, loop=asyncio.get_running_loop())
    running = asyncio.create_task(run(executors, "work_until_told", context=context))
    assert await asyncio.wrap_future(entered) is context
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert context.cancelled
    let_go.set()
    async with asyncio.timeout(5):
        assert await asyncio.wrap_future(ended) == "CancelledError"


meeting = threading.Barrier(2)


@app.task
def meet() -> int:
    return meeting.wait(timeout=5)


async def test_threads_run_at_once_up_to_their_bound(executors: Executors) -> None:
    outcomes = await asyncio.gather(*(run(executors, "meet") for _ in range(4)))
    assert all(isinstance(outcome, Success) for outcome in outcomes)


async def test_a_runner_without_chat_or_http_apps_imports_neither() -> None:
    script = (
        "import asyncio, sys\n"
        "from daybook.apps import App\n"
        "from daybook.context import Context\n"
        "from daybook_runner.executors import Call, Executors\n"
        "from daybook_runner.loading import load\n"
        "app = App('a'); app.task(name='b')(lambda: 1)\n"
        "async def main():\n"
        "    async with Executors() as executors:\n"
        "        await executors.prepare(app.definitions.values())\n"
        "        call = Call(task_id='tsk_1', attempt=1, definition=app.definitions['a.b'], input={})\n"
        "        print(await executors.execute(call, Context.for_test()))\n"
        "asyncio.run(main())\n"
        "print(sorted({'openai', 'httpx2', 'httpcore2', 'litestar'} & sys.modules.keys()))\n"
    )
    import sys

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    out, err = await process.communicate()
    assert out.decode().splitlines()[-1] == "[]", err.decode()
