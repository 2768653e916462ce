"""Fixtures of the command line's tests: commands run in this process against an API that does as it is told."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
from stamina.instrumentation import set_on_retry_hooks

# The fake API is shared with the tests of the client, by its full name.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.client.fake_api import FakeApi, running

from daybook.cli import main


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


Daybook: TypeAlias = Callable[..., Ran]


@pytest.fixture(autouse=True)
def at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder in which no API is known, and a home for `@last` that is the test's own."""
    for name in ("DAYBOOK_URL", "DAYBOOK_TOKEN", "DAYBOOK_DATABASE_URL", "DAYBOOK_MIGRATE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeApi]:
    """The API, as scripted; the environment points to it."""
    with running() as served:
        monkeypatch.setenv("DAYBOOK_URL", served.url)
        monkeypatch.setenv("DAYBOOK_TOKEN", "dbk_test")
        yield served


@pytest.fixture
def daybook(capsys: pytest.CaptureFixture[str]) -> Iterator[Daybook]:
    """Run one command: `daybook("task", "ls")`."""

    def run(*words: str) -> Ran:
        code = main(words)
        captured = capsys.readouterr()
        return Ran(code=code, out=captured.out, err=captured.err)

    yield run
    set_on_retry_hooks(None)
