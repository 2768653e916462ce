"""How a client finds its API: arguments, environment, and the folder of `daybook up`; and whom it never tells a token."""

import json
from pathlib import Path

import pytest

from daybook.client import Client, DaybookError, Unreachable
from daybook.client.address import find_address


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in which nothing is known."""
    for name in ("DAYBOOK_URL", "DAYBOOK_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    below = tmp_path / "project" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    return tmp_path / "project"


def write_env(project: Path, content: object) -> None:
    (project / ".daybook").mkdir()
    (project / ".daybook" / "env.json").write_text(content if isinstance(content, str) else json.dumps(content))


LOCAL = {"url": "http://127.0.0.1:8420", "token": "dbk_local", "nats_url": "nats://127.0.0.1:4222"}


def test_without_anything_it_says_what_to_do() -> None:
    with pytest.raises(Unreachable, match="daybook up"):
        Client()


def test_the_folder_of_daybook_up_is_found_from_below(nowhere: Path) -> None:
    write_env(nowhere, LOCAL)
    found = find_address()
    assert (found.url, found.token, found.folder) == (LOCAL["url"], "dbk_local", nowhere / ".daybook")


def test_the_environment_wins_over_the_folder_and_arguments_over_both(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_env(nowhere, LOCAL)
    monkeypatch.setenv("DAYBOOK_URL", "https://daybook.example.org/")
    monkeypatch.setenv("DAYBOOK_TOKEN", "dbk_env")
    assert (find_address().url, find_address().token) == ("https://daybook.example.org", "dbk_env")
    given = find_address("http://other:1", "dbk_given")
    assert (given.url, given.token) == ("http://other:1", "dbk_given")


def test_the_local_token_goes_to_the_local_api_only(nowhere: Path) -> None:
    write_env(nowhere, LOCAL)
    assert find_address("https://elsewhere.example.org").token is None
    assert find_address("http://127.0.0.1:8420/").token == "dbk_local"


def test_a_broken_file_is_named(nowhere: Path) -> None:
    write_env(nowhere, "{")
    with pytest.raises(DaybookError, match=r"env\.json"):
        find_address()


def test_a_url_must_be_one() -> None:
    with pytest.raises(DaybookError, match="http"):
        find_address("localhost:8420", "t")
