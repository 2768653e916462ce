"""Fixtures of the page's tests: a `daybook up` of its own, a real Chromium, and visits that notice whatever a page does
that it should not.
"""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request, StorageState, async_playwright

# `daybook up` is started as its own tests start it.
sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.e2e.test_up import Up, running
from tests.ui.browser import MISSING, arguments, find_browser, is_required

from daybook_local import folders

PATIENCE_MS: Final = 30_000
_APP: Final = Path(__file__).with_name("app_to_see.py")


class Dictation:
    """Where the typist listens. `begun` tells which task came, `say` has it say something, `over` lets it end."""

    def __init__(self) -> None:
        self.port = 0
        self._writers: dict[str, asyncio.StreamWriter] = {}
        self._came = asyncio.Condition()

    async def begun(self, task_id: str) -> None:
        """Wait until the task runs."""
        async with asyncio.timeout(PATIENCE_MS / 1000), self._came:
            await self._came.wait_for(lambda: task_id in self._writers)

    def say(self, task_id: str, what: Literal["chunk", "progress", "log", "fail"], said: Any) -> None:
        """Dictate one thing."""
        self._writers[task_id].write(json.dumps([what, said]).encode() + b"\n")

    def over(self, task_id: str) -> None:
        """Let the task succeed."""
        self._writers[task_id].write_eof()

    async def listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One typist."""
        task_id = (await reader.readline()).decode().strip()
        async with self._came:
            self._writers[task_id] = writer
            self._came.notify_all()
        try:
            await reader.read()
        except ConnectionError:
            pass  # it was cancelled
        finally:
            writer.close()


class House:
    """`daybook up`, and who dictates to its apps."""

    def __init__(self, up: Up, dictation: Dictation) -> None:
        self.up = up
        self.dictation = dictation
        self.link = up.said.split("  page        ")[1].split()[0]

    async def submit(self, app: str, given: dict[str, Any], **more: Any) -> str:
        """Hand in a task from elsewhere."""
        async with self.up.client() as client:
            answer = await client.post("/v1/tasks", json={"app": app, "input": given, **more})
            assert answer.status_code == 202, answer.text
            return str(answer.json()["id"])

    async def has_ended(self, task_id: str) -> bool:
        """Whether a task has ended well."""
        async with self.up.client() as client:
            return bool((await client.get(f"/v1/tasks/{task_id}")).json()["status"] == "success")

    async def output(self, task_id: str) -> str:
        """What is stored of what a task said."""
        async with self.up.client() as client:
            return (await client.get(f"/v1/tasks/{task_id}/output", headers={"Accept": "text/plain"})).text


class Visit:
    """A page that is open, and everything that went wrong on it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.wrong: list[str] = []
        self.foreign: list[str] = []
        self._origin = urlsplit(url).netloc
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.wrong.append(f"uncaught: {error}"))
        page.on("request", self._asked)

    def refused(self, status: int) -> int:
        """How often the browser told of answers with this status, or of none (0); what is told of so is no surprise any more."""
        words = f"status of {status} " if status else "net::ERR_"
        told = [each for each in self.wrong if words in each]
        self.wrong = [each for each in self.wrong if each not in told]
        return len(told)

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.wrong.append(f"{message.type}: {message.text} {message.location.get('url')}")

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).netloc not in {self._origin, ""}:
            self.foreign.append(request.url)


@pytest.fixture(scope="session")
def browser_path() -> str:
    """Where the browser is; without one there is nothing to see here."""
    path = find_browser()
    if path is None:
        (pytest.fail if is_required() else pytest.skip)(MISSING)
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium(browser_path: str) -> AsyncIterator[Browser]:
    """A real browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=browser_path, args=arguments())
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(chromium: Browser, session_folder: Path) -> AsyncIterator[House]:
    """Everything, as a user brings it up. Asked for only where there is a browser."""
    folder = session_folder / "ui"
    folder.mkdir()
    shutil.copy(_APP, folder)
    # Nobody else's `daybook up` may take its address while its API is down.
    (folders.make_folder(folder / ".daybook") / "port").write_text(str(folders.usual_port(folder)))
    dictation = Dictation()
    async with await asyncio.start_server(dictation.listen, "127.0.0.1", 0) as server:
        dictation.port = server.sockets[0].getsockname()[1]
        async with running(folder, f"{_APP.stem}:app", DICTATION=str(dictation.port)) as up:
            yield House(up, dictation)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def session(chromium: Browser, house: House) -> StorageState:
    """The cookies of a browser that has logged in by the link that `daybook up` printed."""
    context = await chromium.new_context()
    page = await context.new_page()
    await page.goto(house.link)
    await page.wait_for_url(f"{house.up.url}/ui")
    state = await context.storage_state()
    await context.close()
    return state


@asynccontextmanager
async def visiting(chromium: Browser, house: House, **options: Any) -> AsyncIterator[Visit]:
    """A fresh browser window; whatever went wrong in it fails the test at its end."""
    context: BrowserContext = await chromium.new_context(base_url=house.up.url, **options)
    visit = Visit(await context.new_page(), house.up.url)
    try:
        yield visit
        assert (visit.wrong, visit.foreign) == ([], [])
    finally:
        await context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(chromium: Browser, house: House, session: StorageState) -> AsyncIterator[Visit]:
    """A window of somebody who is logged in."""
    async with visiting(chromium, house, storage_state=session) as opened:
        yield opened


@pytest.fixture(scope="session")
def pictures() -> Path | None:
    """Where to put pictures of the pages: the folder that SCREENSHOTS names, if it does."""
    named = os.environ.get("SCREENSHOTS")
    return Path(named) if named else None
