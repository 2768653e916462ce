"""Browsers: a link is good once, a session is kept in a cookie, and what another page makes a browser send changes nothing.
And how the pages themselves are served.
"""

import asyncio
import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from msgspec.structs import replace
from tests.services import Services, Watching, serving_api

from daybook import clock
from daybook.access import issue_link, issue_token
from daybook.testing import eventually
from daybook_api import web

SCHEDULED = {"app": "t.echo", "delay": "1h"}


@asynccontextmanager
async def browser(services: Services) -> AsyncIterator[httpx2.AsyncClient]:
    """A client that keeps cookies and has no token."""
    async with services.client(None) as client:
        yield client


async def link(services: Services, owner: str, scopes: tuple[str, ...] = ("read", "submit")) -> str:
    """The code of a fresh link."""
    return (await issue_link(services.settings.database_url, services.url, "default", owner, scopes, "for a test")).partition("#")[2]


async def log_in(services: Services, client: httpx2.AsyncClient, owner: str) -> str:
    """Log in, and return what proves intent."""
    answer = await client.post("/v1/session", json={"code": await link(services, owner)})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["csrf"])


def cookie_of(services: Services, client: httpx2.AsyncClient) -> str:
    """The session's token."""
    return str(client.cookies[f"daybook_session_{services.url.rpartition(':')[2]}"])


async def test_a_link_begins_a_session_with_its_owner_and_scopes(services: Services, owner: str) -> None:
    address = await issue_link(services.settings.database_url, services.url + "/", "default", owner, ("read",), "for a test")
    assert re.fullmatch(re.escape(services.url) + r"/ui/login#dbk_[0-9a-z]{58}", address)
    async with browser(services) as client:
        answer = await client.post("/v1/session", json={"code": address.partition("#")[2]})
        session = answer.json()
        assert (session["owner"], session["namespace"], session["scopes"]) == (owner, "default", ["read"])
        assert answer.headers["Cache-Control"] == "no-store"
        said = answer.headers["Set-Cookie"]
        name, _, value = said.partition(";")[0].partition("=")
        assert name == f"daybook_session_{services.url.rpartition(':')[2]}"
        assert said.partition("; ")[2] == "Max-Age=2592000; Path=/; HttpOnly; SameSite=Strict"
        assert session["csrf"]
        assert session["csrf"] not in value
        assert (await client.get("/v1/session")).json() == session
        assert (await client.get("/v1/tasks")).json()["items"] == []
        forbidden = await client.post("/v1/tasks", json=SCHEDULED, headers={"Daybook-CSRF": session["csrf"]})
        assert (forbidden.status_code, "submit" in forbidden.json()["detail"]) == (403, True)


async def test_of_twenty_who_try_a_link_one_gets_in_and_none_later(services: Services, owner: str) -> None:
    code = await link(services, owner)

    async def tried() -> int:
        async with browser(services) as client:
            return (await client.post("/v1/session", json={"code": code})).status_code

    assert sorted(await asyncio.gather(*(tried() for _ in range(20)))) == [200] + [403] * 19
    async with browser(services) as client:
        late = await client.post("/v1/session", json={"code": code})
        assert (late.status_code, late.json()["code"], late.json()["hint"]) == (403, "forbidden", "`daybook login` prints another.")
        assert "Set-Cookie" not in late.headers


async def test_what_is_no_link_begins_no_session(services: Services, owner: str) -> None:
    database = services.settings.database_url
    good = await link(services, owner)
    expired = await issue_token(database, "default", owner, ("read",), "", clock.after(-1), use="login")
    endless = await issue_token(database, "default", owner, ("read",), "", None, use="login")
    revoked = await link(services, owner)
    await services.revoke(revoked)
    bearer = await services.token(owner)
    async with browser(services) as client:
        await log_in(services, client, owner)
        session = cookie_of(services, client)
        other = good[:-1] + ("0" if good[-1] != "0" else "1")
        spoilt = (other, good[:-1], good.upper(), "", "dbk_", "x" * 128, good[:40] + "\0" + good[41:], "dbk_" + "ä" * 58)
        for code in (expired, endless, revoked, bearer, session, *spoilt):
            answer = await client.post("/v1/session", json={"code": code})
            assert answer.status_code in ({422} if "\0" in code else {403}), code
        for body in ({}, {"code": 1}, {"code": good, "owner": "root"}, {"code": "x" * 129}):
            assert (await client.post("/v1/session", json=body)).status_code in {400, 422}, body
        assert (await client.post("/v1/session", json={"code": good})).status_code == 200


async def test_each_kind_of_token_is_good_for_its_own_use(services: Services, owner: str) -> None:
    async with browser(services) as client:
        await log_in(services, client, owner)
        session, code, bearer = cookie_of(services, client), await link(services, owner), await services.token(owner)
        name = f"daybook_session_{services.url.rpartition(':')[2]}"
    for token in (session, code):
        async with services.client(token) as program:
            assert (await program.get("/v1/session")).status_code == 401
    for token in (bearer, code, "dbk_", "x"):
        async with services.client(None, Cookie=f"{name}={token}") as program:
            assert (await program.get("/v1/session")).status_code == 401
    # Each was looked at once, and is what it was when it is remembered, too.
    async with services.client(bearer, Cookie=f"{name}={session}") as program:
        told = (await program.get("/v1/session")).json()
        assert (told["owner"], told["csrf"], told["expires_at"]) == (owner, None, None)
    async with services.client(session) as program:
        assert (await program.get("/v1/session")).status_code == 401
    # A token that is not good is not made good by a cookie that is.
    async with services.client("dbk_x", Cookie=f"{name}={session}") as program:
        assert (await program.get("/v1/session")).status_code == 401


async def test_what_changes_something_must_be_meant(services: Services, owner: str) -> None:
    async with browser(services) as client:
        csrf = await log_in(services, client, owner)
        async with browser(services) as other:
            elsewhere = await log_in(services, other, owner)
        for headers in ({}, {"Daybook-CSRF": ""}, {"Daybook-CSRF": "x"}, {"Daybook-CSRF": elsewhere}, {"Daybook-CSRF": csrf.upper() + "x"}):
            for method, path in (("POST", "/v1/tasks"), ("POST", "/v1/schedules/preview"), ("DELETE", "/v1/session")):
                answer = await client.request(method, path, json=SCHEDULED, headers=headers)
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, path, headers)
        assert (await client.get("/v1/tasks")).json()["items"] == []
        assert (await client.post("/v1/tasks", json=SCHEDULED, headers={"Daybook-CSRF": csrf})).status_code == 202


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://example.com"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://example.com", "Sec-Fetch-Site": "same-origin"},
    ],
)
async def test_no_page_of_another_site_may_ask(services: Services, owner: str, headers: dict[str, str]) -> None:
    async with browser(services) as client:
        csrf = await log_in(services, client, owner)
        for method, path in (("POST", "/v1/tasks"), ("GET", "/v1/tasks"), ("GET", "/v1/session"), ("DELETE", "/v1/session")):
            answer = await client.request(method, path, json=SCHEDULED, headers={**headers, "Daybook-CSRF": csrf})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
    code = await link(services, owner)
    async with browser(services) as client:
        assert (await client.post("/v1/session", json={"code": code}, headers=headers)).status_code == 403
        assert (await client.post("/v1/session", json={"code": code}, headers={"Origin": services.url, "Sec-Fetch-Site": "same-origin"})).status_code == 200


async def test_an_answer_is_no_part_of_a_page(services: Services, owner: str) -> None:
    async with browser(services) as client:
        await log_in(services, client, owner)
        answers = {
            destination: (await client.get("/v1/tasks", headers={"Sec-Fetch-Dest": destination})).status_code
            for destination in ("script", "serviceworker", "iframe", "style", "empty", "document", "image")
        }
        assert answers == {"script": 403, "serviceworker": 403, "iframe": 403, "style": 403, "empty": 200, "document": 200, "image": 200}


async def test_a_session_that_was_logged_out_is_over(services: Services, owner: str) -> None:
    async with browser(services) as client:
        csrf = await log_in(services, client, owner)
        session = cookie_of(services, client)
        answer = await client.delete("/v1/session", headers={"Daybook-CSRF": csrf})
        assert (answer.status_code, dict(client.cookies)) == (204, {})
        assert "Max-Age=0" in answer.headers["Set-Cookie"]
        name = f"daybook_session_{services.url.rpartition(':')[2]}"
        assert (await client.get("/v1/session", headers={"Cookie": f"{name}={session}"})).status_code == 401
        assert (await client.delete("/v1/session", headers={"Cookie": f"{name}={session}", "Daybook-CSRF": csrf})).status_code == 204
        assert (await client.delete("/v1/session")).status_code == 204


@pytest.mark.parametrize("path", ["/v1/events", "/v1/tasks/{}/events"])
async def test_what_a_session_reads_ends_with_it(services: Services, owner: str, path: str) -> None:
    async with browser(services) as client:
        meant = {"Daybook-CSRF": await log_in(services, client, owner)}
        task = (await client.post("/v1/tasks", json=SCHEDULED, headers=meant)).json()["id"]
        async with client.stream("GET", path.format(task), headers={"Accept": "text/event-stream"}) as response:
            watching = Watching(response)
            assert await watching.next() is not None
            assert (await client.delete("/v1/session", headers=meant)).status_code == 204
            async with asyncio.timeout(5):  # without any word or heartbeat before it
                while await watching.next() is not None:
                    pass


async def test_nothing_but_a_session_can_be_logged_out(services: Services, owner: str) -> None:
    bearer, code = await services.token(owner), await link(services, owner)
    name = f"daybook_session_{services.url.rpartition(':')[2]}"
    for token in (bearer, code):
        async with services.client(None, Cookie=f"{name}={token}") as client:
            assert (await client.delete("/v1/session")).status_code == 403
    async with services.client(bearer) as client:
        assert (await client.delete("/v1/session")).status_code == 204
        assert (await client.get("/v1/session")).status_code == 200


async def test_who_does_not_know_a_token_s_secret_cannot_have_it_forgotten(services: Services, owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[object] = []
    async with browser(services) as client:
        await log_in(services, client, owner)
        session = cookie_of(services, client)
    forged = f"{session[:-8]}{'0' * 8}"
    # What proves intent follows from the cookie, so whoever makes up the one can make up the other.
    proof = hmac.digest(forged.encode(), b"daybook csrf", "sha256").hex()[:32]
    monkeypatch.setattr(services.api.gateway.access, "forget", forgotten.append)
    async with browser(services) as client:
        cookie = f"daybook_session_{services.url.rpartition(':')[2]}={forged}"
        answer = await client.delete("/v1/session", headers={"Cookie": cookie, "Daybook-CSRF": proof})
    assert (answer.status_code, forgotten) == (204, [])


async def test_a_session_ends_when_it_is_revoked_or_runs_out(services: Services, owner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with browser(services) as client:
        await log_in(services, client, owner)
        await services.revoke(cookie_of(services, client))

        async def is_over() -> bool:
            return (await client.get("/v1/session")).status_code == 401

        await eventually(is_over)
    async with browser(services) as client:
        await log_in(services, client, owner)
        later = clock.after(30 * 24 * 3600 + 1)
        monkeypatch.setattr(clock, "now", lambda: later)
        assert (await client.get("/v1/session")).status_code == 401


async def test_over_tls_the_cookie_is_for_tls_alone(services: Services, owner: str) -> None:
    host = {"Host": "daybook.example"}
    for headers in ({"Origin": "https://daybook.example"}, {"X-Forwarded-Proto": "https"}):
        async with browser(services) as client:
            answer = await client.post("/v1/session", json={"code": await link(services, owner)}, headers={**host, **headers})
        assert answer.status_code == 200
        assert answer.headers["Set-Cookie"].startswith("daybook_session=")
        assert answer.headers["Set-Cookie"].endswith("; Secure")


async def test_where_no_token_is_asked_for_no_session_is_needed(services: Services) -> None:
    async with serving_api(replace(services.settings, open_access=True)) as served, httpx2.AsyncClient(base_url=served.url, trust_env=False) as client:
        told = (await client.get("/v1/session")).json()
        assert (told["owner"], told["csrf"], told["expires_at"]) == ("local", None, None)
        assert (await client.get("/v1/session", headers={"Origin": "https://example.com"})).status_code == 403


async def test_every_address_of_the_page_answers_the_page(services: Services) -> None:
    async with browser(services) as anybody:
        root = await anybody.get("/")
        assert (root.status_code, root.headers["Location"]) == (307, "/ui")
        page = await anybody.get("/ui")
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        for path in ("/ui/", "/ui/new", "/ui/login", "/ui/tasks/tsk_01kbr5vc2ze8trbz1mgbpz5yqd", "/ui?status=error"):
            assert (await anybody.get(path)).content == page.content, path
        policy = "default-src 'none' script-src 'self' style-src 'self' connect-src 'self' img-src 'self' data: base-uri 'none' form-action 'none'"
        assert page.headers["Content-Security-Policy"].replace(";", "") == f"{policy} frame-ancestors 'none'"
        assert (page.headers["X-Content-Type-Options"], page.headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
        assert (await anybody.post("/ui")).status_code == 405


async def test_every_file_is_served_and_known_again(services: Services) -> None:
    async with browser(services) as anybody:
        for name, asset in web.read_assets().items():
            answer = await anybody.get(f"/ui/static/{name}")
            assert (answer.status_code, answer.content) == (200, asset.content), name
            assert answer.headers["Content-Type"] == asset.headers["content-type"]
            assert (answer.headers["Cache-Control"], answer.headers["X-Content-Type-Options"]) == ("no-cache", "nosniff")
            again = await anybody.get(f"/ui/static/{name}", headers={"If-None-Match": answer.headers["ETag"]})
            assert (again.status_code, again.content) == (304, b""), name
    assert {name.rpartition(".")[2] for name in web.read_assets()} >= {"html", "js", "css"}


OUTSIDE = ("..%2fauth.py", "..%2F..%2Fdaybook_api/auth.py", "%2e%2e/auth.py", "../auth.py", "%2fetc%2fpasswd", "/etc/passwd")
NOWHERE = ("x.js", "", ".", "%00", "views/..", "index.html%00")


@pytest.mark.parametrize("path", [*OUTSIDE, *NOWHERE])
async def test_nothing_else_is_served(services: Services, path: str) -> None:
    host, port = services.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /ui/static/{path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 404") or (b"<!doctype html>" in answer.lower() and path in {"", "."}), answer[:300]
    assert b"import " not in answer


def test_files_that_are_no_part_of_a_page_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "views").mkdir()
    for name in ("index.html", "views/tasks.js", "notes.md", "app.py", ".hidden"):
        (tmp_path / name).write_text("x")
    assert set(web.read_assets(tmp_path)) == {"index.html", "views/tasks.js"}
