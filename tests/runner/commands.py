"""Programs to run as commands, honest and hostile, and ways to look at what becomes of them."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from daybook.context import Context, RecordedContext
from daybook.manifest import CommandApp, CommandLimits, Definition
from daybook.testing import eventually
from daybook_runner.executors import Call, Executors, Failure, Outcome, Success

SH = "/bin/sh"


def call(app: CommandApp, given: Any = None) -> Call:
    definition = Definition(app="t", kind="command", run=app)
    return Call(task_id="tsk_1", attempt=1, definition=definition, input={} if given is None else given)


def sh(script: str, *more: str, **options: Any) -> CommandApp:
    return CommandApp(argv=(SH, "-c", script, "sh", *more), **options)


def python(script: str, *more: str, **options: Any) -> CommandApp:
    return CommandApp(argv=(sys.executable, "-I", "-S", "-c", script, *more), **options)


async def run(executors: Executors, app: CommandApp, given: Any = None, context: Context | None = None) -> Outcome:
    return await executors.execute(call(app, given), context or Context.for_test())


async def text_of(executors: Executors, app: CommandApp, given: Any = None) -> str:
    outcome = await run(executors, app, given)
    assert isinstance(outcome, Success), outcome
    assert outcome.media_type == "text/plain; charset=utf-8"
    return outcome.content.decode()


async def failing(executors: Executors, app: CommandApp, given: Any = None, context: Context | None = None) -> Failure:
    outcome = await run(executors, app, given, context)
    assert isinstance(outcome, Failure), outcome
    return outcome


def lines_of(context: RecordedContext) -> list[tuple[str, str]]:
    assert {message.type for message in context.said} <= {"log"}
    return [(message.fields["level"], message.fields["message"]) for message in context.said]


def exists(pid: int) -> bool:
    """Whether it runs; somebody's zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Announced(RecordedContext):
    """A context whose log lines a test can wait for."""

    __slots__ = ("heard",)

    def __init__(self) -> None:
        super().__init__(task_id="tsk_1", attempt=1, deadline=None)
        self.heard = asyncio.Event()

    def say(self, kind: str, fields: dict[str, Any]) -> None:
        super().say(kind, fields)
        self.heard.set()

    async def line(self, number: int = 0) -> str:
        await eventually(lambda: len(self.said) > number)
        message: str = self.said[number].fields["message"]
        return message


@asynccontextmanager
async def running(executors: Executors, app: CommandApp) -> AsyncIterator[tuple[Announced, "asyncio.Task[Outcome]"]]:
    context = Announced()
    task = asyncio.ensure_future(executors.execute(call(app), context))
    try:
        yield context, task
    finally:
        task.cancel()
        await asyncio.wait([task])


CHILDREN = """
import os, signal, sys, time
def child(escape, tell):
    if os.fork() == 0:
        if escape:
            os.setsid()
            if os.fork():
                os._exit(0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), file=sys.stderr, flush=True)
        os.write(tell, b'.')
        while True:
            time.sleep(60)
heard, tell = os.pipe()
child(False, tell)
child(True, tell)
signal.signal(signal.SIGTERM, signal.SIG_IGN if 'stubborn' in sys.argv else signal.SIG_DFL)
os.read(heard, 1), os.read(heard, 1)
print('ready', file=sys.stderr, flush=True)
"""


SCRIPTS = r"""
cat
cat >&2
exit $(($$ % 256))
kill -9 0
exec >&- 2>&- <&-
exec <&-; echo ok
head -c 300000 /dev/urandom
head -c 300000 /dev/urandom >&2
head -c 200000 /dev/zero
sleep 60 & sleep 60 & exit 0
(setsid sleep 60 &) ; echo gone
rm -rf "$PWD"; echo gone
chmod 000 .; mkdir -p a/b; exit 1
printf '[[[[[[['
printf '1e999'
kill -STOP $PPID; kill -CONT $PPID; echo back
kill -9 $PPID
trap '' TERM HUP INT; kill -TERM $$; echo still
printf '%0200000d' 1
""".strip().splitlines()


def hostile(chance: random.Random) -> tuple[CommandApp, Any]:
    """Something that a program, or whoever fills in its arguments, may do to us."""
    points = [0, 10, 13, 27, 39, 45, 92, 0xFFFD, 0x202E, 0x10FFFF]
    junk: list[Callable[[], Any]] = [
        lambda: "".join(chr(chance.choice([*points, chance.randrange(0xD800)])) for _ in range(chance.randrange(40))),
        lambda: "x" * chance.choice([0, 1, 4096, 140_000]),
        lambda: chance.choice([2**63, -(2**64), 10**40, 1e308, -0.0, None, True]),
        lambda: [[{"a": "../../etc"}]] * chance.randrange(5),
        lambda: chance.choice(["-n", "--", "-", "$(reboot)", "%n%s", "\x1b[2J", "{{a}}", "env:HOME", "\ufeff"]),
    ]
    limits = CommandLimits(cpu_seconds=5, output_bytes=100_000, log_bytes=10_000)
    options: dict[str, Any] = {"result": chance.choice(["text", "json"]), "limits": limits}
    given = {"a": chance.choice(junk)(), chance.choice(["b", "", "\0", "a b"]): chance.choice(junk)()}
    if chance.random() < 0.5:
        return CommandApp(argv=("printf", "%s", "{{a}}", "{{b}}"), **options), {"b": None} | given
    lethal = f"kill -{chance.choice([1, 2, 3, 6, 9, 11, 13, 15, 24, 34])} $$"
    return sh(chance.choice([*SCRIPTS, lethal]), **options), given
