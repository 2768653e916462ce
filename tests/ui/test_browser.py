"""A machine without a browser is told so, and is excused unless somebody insists."""

import pytest
from tests.ui import browser


def test_a_browser_that_is_not_there_or_does_not_start_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in ("/no/such/browser", "/bin/false"):
        monkeypatch.setenv("CHROMIUM", path)
        assert browser.find_browser() is None
    monkeypatch.setenv("CHROMIUM", "/bin/true")
    assert browser.find_browser() == "/bin/true"


@pytest.mark.parametrize(("wish", "status"), [("", 0), ("required", 1)])
def test_where_none_can_be_had_it_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wish: str, status: int) -> None:
    monkeypatch.setenv("CHROMIUM", "/no/such/browser")
    monkeypatch.setenv("BROWSER_TESTS", wish)
    monkeypatch.setattr(browser, "install", lambda: None)
    assert browser.main() == status
    assert "make browser" in capsys.readouterr().err
