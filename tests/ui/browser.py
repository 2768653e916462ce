"""Which browser the tests of the page use, and how a machine without one gets one: `python -m tests.ui.browser`.

A browser of the system comes first, then the one that Playwright keeps for itself. `CHROMIUM` names another. Where none can
be had, that is said, and the tests of the page are skipped; where `BROWSER_TESTS` is `required`, it is an error.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MISSING: Final = "no browser was found: `make browser` installs one, or set CHROMIUM to the path of a Chromium or Chrome"


def find_browser() -> str | None:
    """The path of a browser that starts."""
    return next((path for path in _candidates() if path and _starts(path)), None)


def arguments() -> list[str]:
    """How it is started. Chromium's sandbox refuses to be set up by root."""
    return [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]


def is_required() -> bool:
    """Whether a missing browser is an error."""
    return os.environ.get("BROWSER_TESTS") == "required"


def install() -> None:
    """Try what there is. What went wrong is on the terminal, and whether it helped is seen by looking for a browser again."""
    if os.geteuid() == 0 and "ID=debian" in _release():
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for what in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            if subprocess.run(["apt-get", "-q", "-o", "Acquire::Retries=3", *what], env=quiet, stdout=subprocess.DEVNULL, check=False).returncode:
                break
        else:
            return
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=False)


def main() -> int:
    """Install a browser where there is none; the exit status."""
    if find_browser() is None:
        print("installing a browser for the tests of the page, once …", file=sys.stderr)
        install()
        if find_browser() is None:
            print(f"{MISSING}; the tests of the page {'fail' if is_required() else 'are skipped'} without one", file=sys.stderr)
            return 1 if is_required() else 0
    return 0


def _candidates() -> Iterator[str | None]:
    if given := os.environ.get("CHROMIUM"):
        yield given
        return
    yield from map(shutil.which, NAMES)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    yield path if Path(path).exists() else None


def _starts(path: str) -> bool:
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=20, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _release() -> list[str]:
    try:
        return Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
