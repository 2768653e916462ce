"""The page, in a real browser, over everything that `daybook up` brings up: logging in, watching, submitting, and what
happens when the API goes away meanwhile.

SCREENSHOTS=folder keeps a picture of each page, wide and narrow, light and dark.
"""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Locator, Page, Response, StorageState, expect
from tests.ui.conftest import PATIENCE_MS, House, Visit, visiting

from daybook.testing import eventually

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module", autouse=True)
def _patient() -> None:
    expect.set_options(timeout=PATIENCE_MS)


@pytest_asyncio.fixture(loop_scope="session")
async def typing(house: House) -> AsyncIterator[str]:
    """A task that runs, and has said a little."""
    task_id = await house.submit("ui.typist", {"title": "a letter"})
    await house.dictation.begun(task_id)
    house.dictation.say(task_id, "chunk", "Dear <b>reader</b>,\n")
    house.dictation.say(task_id, "progress", 40)
    house.dictation.say(task_id, "log", "the ink runs low")
    yield task_id
    house.dictation.over(task_id)


def part(page: Page, name: str) -> Locator:
    """A part of the page by the name that tests know it by."""
    return page.locator(f'[data-test="{name}"]')


def row(page: Page, task_id: str) -> Locator:
    """A task's row in the list."""
    return page.locator(f'[data-test="task-row"][data-id="{task_id}"]')


async def text_of(page: Page) -> str:
    """All that the task has typed, as the page shows it."""
    return "".join(await part(page, "task-output").locator("pre").all_text_contents())


async def shows(page: Page, text: str) -> None:
    """Wait until the page shows just this output."""

    async def so() -> bool:
        return await text_of(page) == text

    await eventually(so, PATIENCE_MS / 1000)


async def test_the_link_that_up_prints_logs_one_browser_in_once(chromium: Browser, house: House, session: StorageState) -> None:
    cookies = list(session.get("cookies", []))
    assert [(cookie["name"], cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [
        (f"daybook_session_{house.up.url.rpartition(':')[2]}", True, "Strict")
    ]
    assert session.get("origins", []) == []  # nothing is kept where a script could read it
    async with visiting(chromium, house) as visit:
        await visit.page.goto(house.link)
        await expect(part(visit.page, "login-message")).to_contain_text("daybook login")
        await expect(part(visit.page, "login-message")).to_contain_text("not good")
        assert visit.page.url == f"{house.up.url}/ui/login"  # the code is out of the address
        assert "dbk_" not in await visit.page.content()
        assert visit.refused(403) == 1
        visit.refused(401)


async def test_a_code_is_gone_from_the_address_and_the_history(chromium: Browser, house: House) -> None:
    from daybook.access import issue_link

    here = msgspec.json.decode((house.up.folder / ".daybook" / "env.json").read_bytes())
    link = await issue_link(here["database_url"], house.up.url, "default", "local", ("read", "submit"), "a test")
    async with visiting(chromium, house) as visit:
        await visit.page.goto("about:blank")
        await visit.page.goto(link)
        await visit.page.wait_for_url(f"{house.up.url}/ui")
        await expect(part(visit.page, "login-message")).to_have_count(0)
        assert await visit.page.evaluate("document.cookie") == ""
        await visit.page.go_back()
        assert visit.page.url == "about:blank"
        await visit.page.goto("/ui")
        await part(visit.page, "logout").click()
        await expect(part(visit.page, "login-message")).to_be_visible()
        await visit.page.reload()
        await expect(part(visit.page, "login-message")).to_be_visible()
        visit.refused(401)


async def test_a_page_on_another_port_can_make_the_browser_send_its_cookie_and_nothing_comes_of_it(
    chromium: Browser, house: House, session: StorageState
) -> None:
    """Browsers count the ports of a host as one site: here `SameSite` alone would not help."""

    async def lure(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<link rel=icon href=data:,>")
        writer.close()

    script = """async ([url, body]) => {
        for (const [method, path] of [["POST", "/v1/tasks"], ["GET", "/v1/tasks"], ["POST", "/v1/session"]])
            await fetch(url + path, {method, mode: "no-cors", credentials: "include", body: method === "POST" ? new Blob([body]) : undefined});
    }"""
    context = await chromium.new_context(storage_state=session)
    try:
        async with await asyncio.start_server(lure, "127.0.0.1", 0) as server, house.up.client() as client:
            before = (await client.get("/v1/tasks")).json()["items"]
            page = await context.new_page()
            answers: list[Response] = []
            page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108  it cannot be given a built-in method
            await page.goto(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
            await page.evaluate(script, [house.up.url, '{"app": "ui.order", "input": {"dish": "soup"}}'])
            asked = [answer for answer in answers if answer.url.startswith(house.up.url)]
            # Had the cookie not been sent, the first two would be 401.
            assert [answer.status for answer in asked] == [403, 403, 403]
            assert (await client.get("/v1/tasks")).json()["items"] == before
    finally:
        await context.close()


async def test_another_one_is_cancelled(visit: Visit, typing: str) -> None:
    page = visit.page
    await page.goto("/ui")
    await row(page, typing).get_by_role("link").first.click()
    await expect(part(page, "task-status")).to_contain_text("running")
    await part(page, "cancel").click()
    await part(page, "confirm").click()
    await expect(part(page, "task-status")).to_contain_text("cancelled")
    await expect(part(page, "task-output")).to_contain_text("Dear <b>reader</b>,")
    await page.go_back()
    await expect(row(page, typing)).to_contain_text("cancelled")


async def test_the_list_is_live_and_its_filters_survive(visit: Visit, house: House, typing: str) -> None:
    page = visit.page
    await page.goto("/ui")
    await expect(row(page, typing)).to_contain_text("running")
    other = await house.submit("ui.order", {"dish": "soup"})
    await expect(row(page, other)).to_contain_text("success")  # came by itself
    assert await part(page, "task-row").first.get_attribute("data-id") == other
    await part(page, "app-filter").select_option("ui.typist")
    await part(page, "status-filter").get_by_text("running").click()
    await expect(row(page, other)).to_have_count(0)
    await expect(row(page, typing)).to_be_visible()
    assert "status=running" in page.url
    assert "app=ui.typist" in page.url
    address = page.url
    await page.reload()
    await expect(part(page, "status-filter").get_by_label("running")).to_be_checked()
    await expect(part(page, "app-filter")).to_have_value("ui.typist")
    await expect(row(page, typing)).to_be_visible()
    await expect(row(page, other)).to_have_count(0)
    await row(page, typing).get_by_role("link").first.click()
    await expect(part(page, "task-status")).to_contain_text("running")
    await page.go_back()
    await expect(row(page, typing)).to_be_visible()
    assert page.url == address
    house.dictation.over(typing)
    await expect(row(page, typing)).to_have_count(0)  # fits no longer
    third = await house.submit("ui.typist", {"title": "another"})
    await expect(row(page, third)).to_contain_text("running")
    house.dictation.say(third, "fail", "no paper")
    await expect(row(page, third)).to_have_count(0)
    await page.goto(f"/ui/tasks/{third}")
    await expect(part(page, "task-error")).to_contain_text("no paper")


async def test_what_does_not_fit_is_told_at_its_field_and_then_goes_through_once(visit: Visit, house: House) -> None:
    page = visit.page
    await page.goto("/ui/new")
    await part(page, "submit-app").select_option("ui.order")
    form = part(page, "submit-form")
    await expect(form).to_contain_text("Take an order.")
    await form.get_by_label("dish").select_option("bread")
    await form.get_by_label("guests").fill("99")
    await part(page, "submit-button").click()
    assert page.url.endswith("/ui/new") or "/ui/new?" in page.url
    await form.get_by_label("guests").fill("4")
    posts: list[Response] = []
    page.on("response", lambda response: posts.append(response) if response.request.method == "POST" and response.status < 300 else None)
    await part(page, "submit-button").dblclick()
    await expect(part(page, "task-result")).to_contain_text('"guests": 4')
    tasks = {(await response.json())["id"] for response in posts}
    assert tasks == {page.url.rpartition("/")[2]}
    visit.refused(422)
    await part(page, "rerun").click()
    await page.wait_for_url(lambda url: "/ui/tasks/" in url and not url.endswith(next(iter(tasks))))
    await expect(part(page, "task-result")).to_contain_text('"guests": 4')


async def test_a_cron_shows_when_it_would_be_due(visit: Visit, house: House) -> None:
    page = visit.page
    await page.goto("/ui/new")
    await part(page, "submit-app").select_option("ui.order")
    await part(page, "submit-form").get_by_label("dish").select_option("soup")
    await part(page, "when-cron").click()
    await part(page, "cron").fill("30 9 * * mon-fri")
    await expect(part(page, "preview")).to_contain_text("09:30")
    await expect(part(page, "preview").locator("li")).to_have_count(5)
    await part(page, "cron").fill("nonsense")
    await expect(part(page, "preview").locator("li")).to_have_count(0)
    visit.refused(422)
    await part(page, "cron").fill("0 7 1 1 *")
    await expect(part(page, "preview")).to_contain_text("07:00")
    await part(page, "submit-button").click()
    await expect(page.locator("main")).to_contain_text(re.compile("sch_[0-9a-z]{26}"))
    async with house.up.client() as client:
        schedules = (await client.get("/v1/schedules")).json()["items"]
    assert [(each["app"], each["cron"]) for each in schedules] == [("ui.order", "0 7 1 1 *")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
async def test_every_page_fits_its_screen(
    chromium: Browser, house: House, session: StorageState, typing: str, scheme: str, size: dict[str, int], pictures: Path | None
) -> None:
    look: dict[str, Any] = {"viewport": size, "color_scheme": scheme, "storage_state": session}
    async with visiting(chromium, house, **look) as visit:
        page = visit.page
        for name, address, ready in (
            ("tasks", "/ui", row(page, typing)),
            ("task", f"/ui/tasks/{typing}", part(page, "task-output").get_by_text("reader")),
            ("new", "/ui/new", part(page, "submit-form")),
        ):
            await page.goto(address)
            await expect(ready).to_be_visible()
            wide, shown = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
            assert wide <= shown == size["width"], name
            if pictures is not None:
                pictures.mkdir(parents=True, exist_ok=True)
                await page.screenshot(path=pictures / f"{name}-{size['width']}-{scheme}.png", full_page=True)


async def test_submitted_watched_through_a_restart_and_read(visit: Visit, house: House) -> None:
    page = visit.page
    await page.goto("/ui/new")
    await part(page, "submit-app").select_option("ui.typist")
    await part(page, "submit-form").get_by_label("title").fill("a letter")
    await part(page, "submit-button").click()
    await page.wait_for_url(re.compile(r"/ui/tasks/tsk_"))
    task_id = page.url.rpartition("/")[2]
    await house.dictation.begun(task_id)
    await expect(part(page, "task-status")).to_contain_text("running")

    said = ""

    def dictate(first: int, last: int) -> str:
        nonlocal said
        for number in range(first, last):
            house.dictation.say(task_id, "chunk", f"{number} <i>&amp;</i> ")
            said += f"{number} <i>&amp;</i> "
        house.dictation.say(task_id, "progress", last)
        return said

    await shows(page, dictate(0, 20))
    await expect(part(page, "progress")).to_contain_text("20")
    house.dictation.say(task_id, "log", "the ink runs low")
    await expect(part(page, "task-log")).to_contain_text("the ink runs low")

    api = house.up.children()["api"]
    os.kill(api.pid, signal.SIGKILL)
    await eventually(api.is_gone)
    dictate(20, 40)
    await shows(page, dictate(40, 60))  # what was said while nobody could hear it is there, and once
    await expect(part(page, "progress")).to_contain_text("60")
    assert house.up.children()["api"].pid != api.pid
    visit.refused(0)  # the browser itself tells of connections that were cut or refused
    visit.refused(503)

    dictate(60, 80)
    house.dictation.over(task_id)
    await expect(part(page, "task-status")).to_contain_text("success")
    await expect(part(page, "task-result")).to_contain_text('"typed": true')
    await shows(page, said)
    assert await house.output(task_id) == said
    facts = part(page, "task-events").locator("li")
    await expect(facts).to_have_count(3)
    await page.reload()
    await shows(page, said)
    await expect(facts).to_have_count(3)


async def test_a_list_that_is_behind_after_a_crash_catches_up(visit: Visit, house: House) -> None:
    """The new API's projector waits until the lease of the dead one has run out."""
    api = house.up.children()["api"]
    os.kill(api.pid, signal.SIGKILL)
    await eventually(api.is_gone)

    async def is_back() -> bool:
        async with house.up.client() as client:
            try:
                return (await client.get("/readyz")).status_code == 200
            except httpx2.TransportError:
                return False

    await eventually(is_back, PATIENCE_MS / 1000)
    task_id = await house.submit("ui.order", {"dish": "soup"})
    await eventually(lambda: house.has_ended(task_id), PATIENCE_MS / 1000)
    await visit.page.goto("/ui")
    await expect(row(visit.page, task_id)).to_contain_text("success")
    visit.refused(503)
