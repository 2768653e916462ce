"""Thousands of hostile payloads through real services: what comes in is refused or runs, what comes out is stored or is a
clear failure. No task is left open, nothing is answered with a 5xx, and whatever is there can be read by everybody.

`HOSTILE=10000` sends that many payloads instead of two thousand.
"""

import asyncio
import itertools
import json
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import httpx2
import msgspec
import pytest
import pytest_asyncio
from hypothesis.strategies import SearchStrategy
from tests.conftest import ROLE_PASSWORDS
from tests.e2e import hostile, rude
from tests.log.samples import admit_guest
from tests.services import Services, fresh_database, running_services

from daybook import App, AsyncClient, ids
from daybook.log.connections import connect
from daybook.safe_json import safe_text
from daybook.settings import Settings
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres
from daybook_runner.files import read_app_file

TOTAL: Final = int(os.environ.get("HOSTILE", "2000"))
LIMIT_BYTES: Final = 4 * 1024 * 1024
LINES: Final = {"Content-Type": "application/x-ndjson"}
TERMINAL: Final = {"success", "error", "cancelled"}
_SPAWNED: Final = TOTAL // 20 if TOTAL >= 10_000 else max(TOTAL // 50, 20)
"""Payloads for each executor that starts a process, which takes a hundred times as long as the rest."""

GUESTS_GIVE: Final = (
    *('{"value": 1}', '{"value": "ü"}', '"text"', "null", '{"value": 1, "value": 2}', "[" * 64 + "]" * 64),
    *('{"value": 1e400}', '{"value": -1e99999}', f'{{"value": {"9" * 5_000}}}', f'{{"value": {"9" * 120_000}}}', f'{{"value": 0.{"3" * 5_000}}}'),
    *('{"value": "\\u0000"}', '{"value": "\\ud800"}', '{"value": NaN}', "", "[" * 65 + "]" * 65, "[" * 5_000 + "]" * 5_000),
)


class Scene(NamedTuple):
    """The services, a client, and what is read and answered outside of HTTP."""

    services: Services
    client: httpx2.AsyncClient
    stranger: "Stranger"
    owner_url: str
    guest_url: str


class Stranger:
    """A server that answers each path with what it was told to answer there."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[tuple[str, bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, in bytes that no framework would let pass."""
        request = await reader.readuntil(b"\r\n\r\n")
        media_type, body = self.answers[int(request.split()[1].strip(b"/").partition(b"?")[0])]
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def strange_server() -> AsyncIterator[Stranger]:
    """A stranger on a port."""
    stranger = Stranger(0)
    server = await asyncio.start_server(stranger.serve, "127.0.0.1", 0)
    stranger.port = server.sockets[0].getsockname()[1]
    async with server:
        yield stranger


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def scene(postgres: EmbeddedPostgres, template_database: str, session_folder: Path) -> AsyncIterator[Scene]:
    folder = Path(tempfile.mkdtemp(prefix="hostile-", dir=session_folder))
    server = EmbeddedNats(folder / "nats")
    server.start()
    try:
        async with fresh_database(postgres, template_database) as url, strange_server() as stranger:
            settings = Settings(
                database_url=url,
                nats_url=server.url,
                http_allow="127.0.0.1/32",
                lease_ttl_seconds=60,
                result_limit_bytes=LIMIT_BYTES,
                blobs=f"file://{folder}/blobs",
            )
            async with running_services(settings, hostile.app, without_code(folder, stranger.port)) as services:
                owner = await connect(url, None)
                await admit_guest(owner)
                await owner.close()
                guest_url = postgres.url(url.rpartition("/")[2], user="daybook_guest", password=ROLE_PASSWORDS["daybook_guest"])
                async with services.client(await services.token()) as client:
                    yield Scene(services, client, stranger, url, guest_url)
    finally:
        server.stop()


def without_code(folder: Path, port: int) -> App:
    """The apps that are files."""
    files = {
        "fetch": f'kind = "http"\nurl = "http://127.0.0.1:{port}/{{{{n}}}}"',
        "tell": f'kind = "http"\nmethod = "POST"\nurl = "http://127.0.0.1:{port}/0?q={{{{value}}}}"\nbody = "{{{{value}}}}"\n'
        'headers = { X-Value = "{{value}}" }',
        "command": 'kind = "command"\nargv = ["printf", "%s", "{{value}}"]',
    }
    apps = App("files")
    for name, text in files.items():
        path = folder / f"{name}.toml"
        path.write_text(text)
        definition = read_app_file(path)
        apps._definitions[definition.app] = definition
    return apps


async def made(strategy: SearchStrategy[Any], count: int, number: int = 1) -> list[Any]:
    """Examples. In a thread: thousands take a quarter of a minute, and the services live in this loop."""
    return await asyncio.to_thread(rude.made, strategy, count, number)


def line(app: str, **given: Any) -> bytes:
    """One good line of a batch."""
    return msgspec.json.encode({"app": app, "input": given, "retry": {"max_attempts": 1}})


async def submit(client: httpx2.AsyncClient, lines: Iterable[bytes]) -> set[str]:
    """Send them all, and return the tasks that were accepted. Whatever was refused was the sender's fault."""
    accepted = set()
    remaining = iter(lines)
    while some := list(itertools.islice(remaining, 500)):
        answer = await client.post("/v1/tasks/batch", content=b"\n".join(some), headers=LINES)
        assert answer.status_code == 200, answer.text
        for item in read(answer)["items"]:
            if "problem" in item:
                assert 400 <= item["problem"]["status"] < 500, item
            else:
                accepted.add(item["task_id"])
    return accepted


def read(answer: httpx2.Response) -> Any:
    """The body, as the strictest reader takes it. Nothing is ever our own fault."""
    assert answer.status_code < 500, answer.text
    value = json.loads(answer.content.decode("utf-8"), parse_constant=pytest.fail)
    json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


async def end(scene: Scene, tasks: set[str]) -> Counter[str]:
    """Wait until all of these tasks have ended, and read everything there is about them. Returns how they ended."""
    streams = [ids.parse("tsk", task) for task in tasks]
    connection = await asyncpg.connect(scene.owner_url)
    query = (
        "SELECT array_agg(stream) FROM unnest($1::uuid[]) stream WHERE NOT EXISTS (SELECT FROM log.event e WHERE e.stream = stream.stream"
        " AND e.kind IN ('task.succeeded.v1', 'task.failed.v1', 'task.cancelled.v1', 'task.expired.v1', 'task.lost.v1'))"
    )

    async def none_open() -> bool:
        # Each look at those alone that were open at the last one.
        streams[:] = await connection.fetchval(query, streams) or []
        return not streams

    try:
        await eventually(none_open, 30 + len(tasks) / 20)
    except AssertionError:
        raise AssertionError([ids.spell("tsk", stream) for stream in streams if stream is not None]) from None
    finally:
        await connection.close()
    endings: Counter[str] = Counter()
    for task in tasks:
        endings[await read_all(scene.client, task)] += 1
    return endings


async def read_all(client: httpx2.AsyncClient, task_id: str) -> str:
    """Read a task, its events and its result; how it ended."""
    task = read(await client.get(f"/v1/tasks/{task_id}"))
    assert task["status"] in TERMINAL, task
    events = read(await client.get(f"/v1/tasks/{task_id}/events"))["items"]
    assert [event["version"] for event in events] == list(range(1, task["version"] + 1))
    result = await client.get(f"/v1/tasks/{task_id}/result")
    if task["status"] == "success":
        assert len(result.content) == task["result"]["size_bytes"] <= LIMIT_BYTES
        assert (result.status_code, result.headers["Content-Type"]) == (200, task["result"]["media_type"])
        if "json" in task["result"]["media_type"]:
            assert "\x00" not in str(read(result))[:100_000]
        return "success"
    problem = read(result)
    assert result.status_code == 409
    if task["status"] == "error":
        assert problem["error"] == task["error"]
        assert 0 < len(task["error_type"]) <= 128
        assert "\x00" not in json.dumps(task["error"], ensure_ascii=False)
        assert len(result.content) < 100_000
    return str(task["error_type"] or task["status"])


async def test_whatever_is_sent_is_refused_or_ends(scene: Scene) -> None:
    lines = await made(rude.lines(), TOTAL * 45 // 100)
    tasks = await submit(scene.client, lines)
    # One that goes to a queue that nobody serves, or is put off for years, is cancelled by somebody just as rude.
    reasons = itertools.cycle(text for text in hostile.TEXTS)
    for task_id in tasks:
        view = read(await scene.client.get(f"/v1/tasks/{task_id}"))
        if "other" in view["labels"] and (view["queue"] != "default" or view["status"] == "scheduled"):
            body = json.dumps({"reason": next(reasons)}).encode("utf-8", "surrogatepass")
            if (await scene.client.post(f"/v1/tasks/{task_id}/cancel", content=body)).status_code >= 400:
                assert (await scene.client.post(f"/v1/tasks/{task_id}/cancel")).status_code < 300
    endings = await end(scene, tasks)
    assert endings["success"] > len(lines) // 5
    assert len(lines) - len(tasks) > len(lines) // 5


async def test_what_a_guest_submits_from_sql_is_refused_or_ends(scene: Scene) -> None:
    guest = await asyncpg.connect(scene.guest_url)
    given = [*GUESTS_GIVE, *(json.dumps({"value": "x" * size}) for size in (9_000, 1_000_000, 1_100_000))]
    given += [line.decode("utf-8", "replace") for line in await made(rude.lines(), TOTAL // 20, 2)]
    tasks = set()
    for each in given:
        try:
            stream = await guest.fetchval("SELECT daybook.submit_task('h.echo', $1)", each)
            tasks.add(ids.spell("tsk", stream))
        except (asyncpg.DataError, asyncpg.ProgramLimitExceededError, asyncpg.StatementTooComplexError):
            pass
    await guest.close()
    endings = await end(scene, tasks)
    assert endings["success"] >= 6
    assert len(tasks) < len(given)


async def test_whatever_is_returned_raised_or_said_is_an_outcome(scene: Scene) -> None:
    hostile.MADE[:] = await made(rude.ANYTHING, TOTAL * 40 // 100, 3)
    ways = ("give", "give_in_thread", "fail", "fail_in_thread", "say", "say_in_thread")
    names = [*hostile.VALUES, *hostile.ERRORS]
    # What is enormous is returned and raised, and said only in the tests of speaking: a hundred megabytes take seconds each time they are copied.
    by_hand = [line(f"h.{way}", name=name) for name in names for way in ways if "100 MB" not in name or way.startswith("give") or way == "fail_in_thread"]
    by_chance = [line(f"h.{way}", name=str(number)) for number, way in zip(range(len(hostile.MADE)), itertools.cycle(ways), strict=False)]
    checked = [line("h.checked", name=safe_text(text)) for text in hostile.TEXTS]
    tasks = await submit(scene.client, by_hand + by_chance + checked)
    assert len(tasks) == len(by_hand) + len(by_chance) + len(checked)
    endings = await end(scene, tasks)
    assert {"success", "ResultTooLarge", "UnserializableResult", "SystemExit", "KeyboardInterrupt", "Outside", "Unnamed", "Error"} <= set(endings)
    assert endings["UnserializableResult"] > 10


async def test_what_was_said_can_be_watched(scene: Scene) -> None:
    tasks = await submit(scene.client, [line("h.say", name=name) for name in hostile.VALUES if "MB" not in name])
    await end(scene, tasks)
    said: Counter[str] = Counter()
    async with AsyncClient(scene.services.url, await scene.services.token()) as client:
        for task_id in tasks:
            async for event in client.tasks.watch(task_id):
                said[event.type] += 1
    assert said["end"] == len(tasks)
    assert min(said["log"], said["progress"]) > len(tasks)


async def test_whatever_a_stranger_answers_is_an_outcome(scene: Scene) -> None:
    scene.stranger.answers[:] = await made(rude.answers(), max(TOTAL // 20, 50), 4)
    fetches = [line("fetch", n=str(number)) for number in range(len(scene.stranger.answers))]
    tasks = await submit(scene.client, fetches + [line("tell", value=safe_text(text)) for text in hostile.TEXTS])
    endings = await end(scene, tasks)
    assert endings["success"] > len(fetches) // 2


@pytest.mark.parametrize("app", ["h.echo_in_process", "command"])
async def test_whatever_goes_into_a_process_comes_to_an_end(scene: Scene, app: str) -> None:
    lines = rude.lines(app, rude.ANY_JSON if app.startswith("h.") else rude.RUDE_TEXTS)
    tasks = await submit(scene.client, await made(lines, _SPAWNED, 5))
    endings = await end(scene, tasks)
    assert endings["success"] > len(tasks) // 4


async def test_whatever_a_process_returns_or_raises_is_an_outcome(scene: Scene) -> None:
    names = _every([*hostile.VALUES, *hostile.ERRORS], _SPAWNED // 2)
    tasks = await submit(scene.client, [line(f"h.{way}_in_process", name=name) for name in names for way in ("give", "fail")])
    await end(scene, tasks)


async def test_afterwards_nothing_is_open_and_every_list_can_be_read(scene: Scene) -> None:
    cursor, seen = "", 0
    while cursor is not None:
        page = read(await scene.client.get("/v1/tasks", params={"limit": 200} | ({"cursor": cursor} if cursor else {})))
        assert {task["status"] for task in page["items"]} <= TERMINAL
        seen += len(page["items"])
        cursor = page["next_cursor"]
    assert seen >= TOTAL // 2
    for path in ("/v1/apps", "/readyz"):
        assert (await scene.client.get(path)).status_code == 200


def _every(names: list[str], count: int) -> Iterator[str]:
    """So many of the names, from all over the list."""
    step = max(len(names) / count, 1.0)
    return (names[int(number * step)] for number in range(min(count, len(names))))
