"""`db migrate`, `token create` and `login`, on a real database."""

import re
from urllib.parse import urlsplit, urlunsplit

import pytest
from tests.cli.conftest import Daybook


def test_migrations_are_applied_once_and_named(daybook: Daybook, database_url: str) -> None:
    ran = daybook("db", "migrate", "--url", database_url)
    assert (ran.code, ran.out) == (0, "")
    assert "up to date" in ran.err


def test_a_token_is_printed_alone(daybook: Daybook, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBOOK_MIGRATE_URL", database_url)
    ran = daybook("token", "create", "--owner", "ana", "--scope", "read", "--label", "her laptop")
    assert ran.code == 0
    assert ran.out.startswith("dbk_")
    assert len(ran.out.split()) == 1


def test_an_unknown_scope_is_refused(daybook: Daybook, database_url: str) -> None:
    ran = daybook("token", "create", "--owner", "ana", "--scope", "everything", "--url", database_url)
    assert (ran.code, ran.out) == (2, "")
    assert "everything" in ran.err


def test_a_database_that_is_not_there_is_unreachable(daybook: Daybook, database_url: str) -> None:
    elsewhere = urlunsplit(urlsplit(database_url)._replace(path="/no_such_database"))
    ran = daybook("db", "migrate", "--url", elsewhere)
    assert (ran.code, ran.out) == (7, "")
    assert "no_such_database" in ran.err
    assert "Traceback" not in ran.err


def test_a_login_link_is_printed_alone(daybook: Daybook, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAYBOOK_MIGRATE_URL", database_url)
    ran = daybook("login", "--owner", "ana", "--api-url", "https://daybook.example/")
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(r"https://daybook\.example/ui/login#dbk_[0-9a-z]{58}\n", ran.out)
    again = daybook("login", "--owner", "ana", "--api-url", "https://daybook.example/")
    assert again.out != ran.out
    nowhere = daybook("login")
    assert (nowhere.code, nowhere.out) == (7, "")
