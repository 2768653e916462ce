"""Commands: real programs, what they are given, what they may use, and what becomes of what they print."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.runner.commands import failing, lines_of, python, run, sh, text_of

from daybook.context import Context
from daybook.manifest import CommandApp, CommandLimits
from daybook_runner.executors import Executors, Success


async def test_the_input_comes_on_stdin_and_what_is_printed_is_the_result(executors: Executors) -> None:
    given = {"text": "käse\n", "n": 3}
    assert json.loads(await text_of(executors, CommandApp(argv=("cat",)), given)) == given


async def test_a_json_result_is_decoded(executors: Executors) -> None:
    outcome = await run(executors, sh("""echo '{"a": [1, "\\u0000"]}'""", result="json"))
    assert outcome == Success(content='{"a":[1,"\ufffd"]}'.encode())


@pytest.mark.parametrize("printed", ["", "{", "1 2", "NaN", "\\377", '"\\\\ud800"'])
async def test_what_is_no_json_is_a_malformed_result(executors: Executors, printed: str) -> None:
    assert (await failing(executors, sh(f"printf '{printed}'", result="json"))).error_type == "MalformedResult"


async def test_text_is_made_safe(executors: Executors) -> None:
    assert await text_of(executors, sh(r"printf 'a\000b\377c'")) == "a\ufffdb\ufffdc"


async def test_values_fill_arguments_and_no_shell_reads_them(executors: Executors) -> None:
    app = CommandApp(argv=("printf", "[%s]", "{{a}}", "x{{a}}y", "{{n}}"))
    assert await text_of(executors, app, {"a": "$(id) `id` 'q' ; {{n}}", "n": [1]}) == "[$(id) `id` 'q' ; {{n}}][x$(id) `id` 'q' ; {{n}}y][[1]]"


async def test_a_value_does_not_become_an_option(executors: Executors) -> None:
    failure = await failing(executors, CommandApp(argv=("cat", "{{file}}")), {"file": "--help"})
    assert (failure.error_type, failure.retryable) == ("InvalidInput", False)
    assert await text_of(executors, CommandApp(argv=("printf", "--", "{{text}}")), {"text": "-n"}) == "-n"
    assert await text_of(executors, CommandApp(argv=("echo", "{{text}}"), allow_dashes=True), {"text": "-5"}) == "-5\n"


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({}, "InvalidInput"),
        ({"a": "\0"}, "InvalidInput"),
        ([], "InvalidInput"),
        ({"a": "x" * 3_000_000}, "CommandNotStarted"),
    ],
)
async def test_an_input_that_cannot_be_an_argument(executors: Executors, given: Any, kind: str) -> None:
    failure = await failing(executors, CommandApp(argv=("echo", "{{a}}")), given)
    assert (failure.error_type, failure.retryable) == (kind, False)


async def test_a_program_that_is_not_there(executors: Executors) -> None:
    failure = await failing(executors, CommandApp(argv=("no-such-program",)))
    assert (failure.error_type, failure.retryable) == ("CommandNotStarted", False)
    assert "no-such-program cannot be run" in failure.message


async def test_the_environment_is_what_the_app_declares(executors: Executors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_SECRET", "s3cret")
    monkeypatch.setenv("NOT_DECLARED", "x")
    app = CommandApp(argv=("/usr/bin/env",), env={"PLAIN": "a", "SECRET": "env:THE_SECRET", "OTHER": "env:MISSING|default"})
    assert set((await text_of(executors, app)).splitlines()) == {"PLAIN=a", "SECRET=s3cret", "OTHER=default"}
    missing = await failing(executors, CommandApp(argv=("/usr/bin/env",), env={"A": "env:MISSING"}))
    assert missing.error_type == "MissingSetting"


async def test_it_runs_in_a_folder_of_its_own_that_is_removed(executors: Executors) -> None:
    script = "import os; os.mkdir('d'); open('d/f', 'w'); os.symlink('/etc', 'd/l'); os.chmod('d', 0); print(os.getcwd(), oct(os.stat('.').st_mode & 0o777))"
    folder, mode = (await text_of(executors, python(script))).split()
    assert mode == "0o700"
    assert not Path(folder).exists()
    assert Path("/etc/passwd").exists()


async def test_stderr_is_the_log(executors: Executors) -> None:
    context = Context.for_test()
    await run(executors, sh(r"printf 'one\n\ntwo \377\r\n10%%\r20%%\nlast' >&2"), context=context)
    assert lines_of(context) == [("info", "one"), ("info", "two \ufffd"), ("info", "20%"), ("info", "last")]


async def test_what_is_too_long_is_cut_and_says_so(executors: Executors) -> None:
    context = Context.for_test()
    limits = CommandLimits(output_bytes=5, log_bytes=20_000)
    script = "import sys; sys.stdout.write('0123456789'); sys.stderr.write('y' * 9000 + '\\n' + 'ab\\n' * 100_000)"
    outcome = await run(executors, python(script, limits=limits), context=context)
    assert outcome == Success(content="01234\n… (cut: 5 bytes more)\n".encode(), media_type="text/plain; charset=utf-8")
    lines = lines_of(context)
    assert lines[0] == ("info", "y" * 8192 + " … (cut)")
    assert lines[-1] == ("warning", "stderr was cut here: it is too long")
    assert len(lines) == 2 + (20_000 - 9001 + 2) // 3
    failure = await failing(executors, sh("echo '[1, 2, 3]'", limits=limits, result="json"))
    assert (failure.error_type, failure.retryable) == ("ResultTooLarge", False)


async def test_exit_codes_and_signals_are_named(executors: Executors) -> None:
    failure = await failing(executors, sh("echo 'it is broken' >&2; exit 3"))
    assert (failure.error_type, failure.message) == ("CommandFailed", "/bin/sh ended with exit code 3: it is broken")
    failure = await failing(executors, sh("kill -SEGV $$"))
    assert (failure.error_type, failure.message) == ("CommandKilled", "/bin/sh was ended by SIGSEGV")


@pytest.mark.parametrize(
    ("script", "limits", "says"),
    [
        ("while True: pass", CommandLimits(cpu_seconds=1), "limits.cpu_seconds"),
        ("open('f', 'wb').write(b'x' * 100_000)", CommandLimits(file_bytes=1000), "File too large"),
        ("bytearray(400_000_000)", CommandLimits(memory_bytes=200_000_000), "MemoryError"),
        ("f = [open('/dev/null') for _ in range(50)]", CommandLimits(open_files=20), "Too many open files"),
    ],
)
async def test_limits_hold(executors: Executors, script: str, limits: CommandLimits, says: str) -> None:
    failure = await failing(executors, python(script, limits=limits))
    assert says in failure.message


async def test_it_leaves_no_core_and_gains_no_rights(executors: Executors) -> None:
    app = sh("ulimit -c; grep NoNewPrivs /proc/self/status")
    assert (await text_of(executors, app)).split() == ["0", "NoNewPrivs:", "1"]


async def test_nothing_of_the_runner_is_open_in_it(executors: Executors) -> None:
    script = "import os; print(sorted(int(each) for each in os.listdir('/proc/self/fd')))"
    # The fourth is the folder that is being listed.
    assert await text_of(executors, python(script)) == "[0, 1, 2, 3]\n"
