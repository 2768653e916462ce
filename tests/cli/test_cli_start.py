"""The command line as a program: quick, lazy, and clear about mistakes."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from tests.cli.conftest import Daybook
from tests.client.fake_api import TASK_ID, FakeApi, Say, task

from daybook.cli import services
from daybook.cli.commands import COMMANDS
from daybook.cli.exits import Complaint

_PROGRAM = """
import sys
from daybook.cli import main
code = main(sys.argv[1:])
heavy = {"litestar", "uvicorn", "asyncpg", "nats", "httpx2", "structlog", "asyncio", "rich.markdown"}
print(*sorted(heavy & sys.modules.keys()), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize("words", [["--help"], ["task", "--help"], ["schedule", "create", "--help"], ["run", "--help"], ["up", "--help"], ["--version"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    ran = subprocess.run([sys.executable, "-c", _PROGRAM, *words], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.strip()) == (0, "")
    assert ran.stdout


def test_the_first_screen_names_every_command_and_needs_no_parser(daybook: Daybook) -> None:
    program = "import sys; from daybook.cli import main; main(['--help']); sys.exit('cyclopts' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0
    shown = daybook("--help").out
    assert daybook().out == shown
    for name, _, _ in COMMANDS:
        assert f"  {name} " in shown
        assert daybook(name, "--help").code == 0


def test_python_m_daybook_is_daybook() -> None:
    ran = subprocess.run([sys.executable, "-m", "daybook", "--version"], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == version("daybook-tasks")


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-command"],
        ["task", "ls", "--limitt", "3"],
        ["task", "show"],
        ["task", "ls", "-o", "yaml"],
        ["run", "hello", "not-a-pair"],
        ["run", "hello", "k:=nonsense"],
        ["run", "hello", "@missing.json"],
        ["run", "hello", "text=@missing.txt"],
        ["run", "hello", "text:=@missing.json"],
        ["run", "hello", "--at", "tomorrow"],
        ["run", "hello", "--at", "2026-12-01", "--in", "5m"],
        ["run", "hello", "--label", "no-value"],
        ["task", "reschedule", "tsk_1"],
        ["task", "wait", "tsk_1", "--timeout", "soon"],
        ["task", "ls", "--since", "yesterday"],
        ["task", "show", "@last"],
        ["token", "create", "--owner", "ana"],
        ["db", "migrate"],
    ],
)
def test_a_command_that_makes_no_sense_is_told_so(daybook: Daybook, words: list[str]) -> None:
    ran = daybook(*words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err
    assert "Traceback" not in ran.err


def test_without_an_api_it_says_what_to_do(daybook: Daybook) -> None:
    ran = daybook("task", "ls")
    assert ran.code == 7
    assert "daybook up" in ran.err


def test_what_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a_service_of_this_test.py").write_text("import a_library_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Complaint, match="a_library_nobody_has") as caught:
        services.load("a_service_of_this_test", "serve", extra="api")
    assert caught.value.hint == "install daybook-tasks[api]"


def test_a_typo_in_the_environment_is_named(daybook: Daybook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBOOK_SLOTS", "many")
    ran = daybook("serve", "runner")
    assert ran.code == 2
    assert "slots" in ran.err


def test_a_reader_that_has_had_enough_is_no_error(api: FakeApi) -> None:
    api.on("GET /v1/tasks", Say(200, {"items": [task()] * 200, "next_cursor": None}))
    pipeline = f"{sys.executable} -m daybook task ls --limit 200 | head -n 1; echo ${{PIPESTATUS[0]}}"
    ran = subprocess.run(["bash", "-c", pipeline], capture_output=True, text=True, check=False)
    line, code = ran.stdout.splitlines()
    assert json.loads(line)["id"] == TASK_ID
    assert (code, ran.stderr) == ("141", "")
