"""How programs end, however they do: with all that they started, and with nothing left behind."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from tests.runner.commands import CHILDREN, exists, failing, hostile, lines_of, python, run, running, sh

from daybook.context import Context
from daybook.testing import eventually
from daybook_runner.executors import Executors, Failure, Success


async def test_children_do_not_outlive_a_command_that_ends(executors: Executors) -> None:
    context = Context.for_test()
    assert isinstance(await run(executors, python(CHILDREN), context=context), Success)
    pids = [int(line) for _, line in lines_of(context)[:2]]
    assert not any(exists(pid) for pid in pids)


@pytest.mark.parametrize("manner", ["polite", "stubborn"])
async def test_a_cancelled_command_ends_with_all_its_children(executors: Executors, manner: str) -> None:
    app = python(CHILDREN + "time.sleep(60)", manner, grace="200ms")
    async with running(executors, app) as (context, task):
        assert await context.line(2) == "ready"
        pids = [int(await context.line(number)) for number in (0, 1)]
        assert all(exists(pid) for pid in pids)
        began = asyncio.get_running_loop().time()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() - began < 0.2 + 1
        assert not any(exists(pid) for pid in pids)


CLEANS_UP = """
import os, signal, sys, time
def leave(number, frame):
    os.write(2, b'bye')
    sys.exit()
signal.signal(signal.SIGTERM, leave)
print('ready', file=sys.stderr, flush=True)
while True:
    time.sleep(0.01)
"""


async def test_a_cancelled_command_may_clean_up_and_have_last_words(executors: Executors) -> None:
    async with running(executors, python(CLEANS_UP, grace=30)) as (context, task):
        assert await context.line() == "ready"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [message for _, message in lines_of(context)] == ["ready", "bye"]


async def test_a_timeout_ends_it_too(executors: Executors) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await run(executors, python("import time; time.sleep(60)"))


async def test_a_command_that_stopped_itself_can_be_ended(executors: Executors) -> None:
    async with running(executors, sh("echo $$ >&2; kill -STOP $$", grace="100ms")) as (context, task):
        pid = int(await context.line())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not exists(pid)


async def test_a_second_cancel_waits_for_no_grace(executors: Executors) -> None:
    async with running(executors, python(CHILDREN + "time.sleep(60)", "stubborn", grace=60)) as (context, task):
        assert await context.line(2) == "ready"
        pids = [int(await context.line(number)) for number in (0, 1)]
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually(lambda: not any(exists(pid) for pid in pids))


async def test_a_command_that_stops_its_warden_is_ended_all_the_same(executors: Executors) -> None:
    context = Context.for_test()
    script = "import os, signal; print(os.getppid()); os.kill(os.getppid(), signal.SIGSTOP)"
    outcome = await run(executors, python(script), context=context)
    assert isinstance(outcome, Success)
    await eventually(lambda: not exists(int(outcome.content)))


async def test_a_command_that_kills_its_warden_gains_nothing(executors: Executors) -> None:
    script = "import os, time; print(os.getpid()); os.kill(os.getppid(), 9); time.sleep(60)"
    failure = await failing(executors, python(script))
    assert failure.error_type == "CommandKilled"


RUNNER = """
import asyncio, sys
from daybook.context import Context
from daybook.manifest import CommandApp, Definition
from daybook_runner.executors import Call, Executors

class Loud(Context):
    def say(self, kind, fields):
        print(fields["message"], flush=True)

async def main():
    run = CommandApp(argv=(sys.executable, "-I", "-S", "-c", sys.argv[1], "stubborn"), grace=60)
    call = Call(task_id="tsk_1", attempt=1, definition=Definition(app="t", kind="command", run=run), input={})
    async with Executors() as executors:
        await executors.execute(call, Loud(task_id="tsk_1", attempt=1, emit=print))

if "uvloop" in sys.argv:
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_nothing_outlives_a_runner_that_is_killed(loop: str, tmp_path: Path) -> None:
    script = CHILDREN + "print(os.getpid(), os.getppid(), os.getcwd(), file=sys.stderr, flush=True); time.sleep(60)"
    runner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUNNER, script, loop),
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ) | {"TMPDIR": str(tmp_path)},
    )
    assert runner.stdout is not None
    said = [(await runner.stdout.readline()).decode().split() for _ in range(4)]
    pids = [int(each) for words in (said[0], said[1], said[3][:2]) for each in words]
    folder = Path(said[3][2])
    assert folder.parent == tmp_path
    assert all(exists(pid) for pid in pids)
    runner.send_signal(signal.SIGKILL)
    await runner.wait()
    await eventually(lambda: not any(exists(pid) for pid in pids) and not folder.exists())


async def test_five_hundred_hostile_payloads_all_have_an_end(executors: Executors) -> None:
    chance = random.Random(20_261_123)
    payloads = [hostile(chance) for _ in range(500)]
    ends: dict[str, int] = {}

    async def work() -> None:
        while payloads:
            app, given = payloads.pop()
            async with asyncio.timeout(20):
                outcome = await run(executors, app, given)
            kind = outcome.error_type if isinstance(outcome, Failure) else "Success"
            ends[kind] = ends.get(kind, 0) + 1

    await asyncio.gather(*(work() for _ in range(8)))
    assert sum(ends.values()) == 500, ends
    assert set(ends) == {"Success", "InvalidInput", "CommandFailed", "CommandKilled", "CommandNotStarted", "MalformedResult", "ResultTooLarge"}, ends


UNDER_UVLOOP = """
import asyncio, random, uvloop
from tests.runner.commands import CHILDREN, call, hostile, python, run
from daybook.context import Context
from daybook_runner.executors import Executors, Failure

async def main():
    chance = random.Random(7)
    async with Executors() as executors:
        for app, given in [hostile(chance) for _ in range(30)]:
            outcome = await run(executors, app, given)
            print(outcome.error_type if isinstance(outcome, Failure) else "Success")
        # Cancelled before, while and after it begins, perhaps twice.
        for number in range(12):
            task = asyncio.ensure_future(executors.execute(call(python("import time; time.sleep(60)", grace=0)), Context.for_test()))
            await asyncio.wait([task], timeout=chance.random() / 10)
            task.cancel()
            if number % 3 == 0:
                await asyncio.wait([task], timeout=chance.random() / 50)
                task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

uvloop.run(main())
"""


async def test_all_this_holds_in_the_loop_that_runners_use(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", UNDER_UVLOOP),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=dict(os.environ) | {"TMPDIR": str(tmp_path)},
    )
    said, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")
    assert set(said.decode().split()) <= {"Success", "InvalidInput", "CommandFailed", "CommandKilled", "CommandNotStarted", "MalformedResult", "ResultTooLarge"}
    assert list(tmp_path.iterdir()) == []
