"""GET /v1/events: everything that the caller may see, once and in order, over any number of cuts."""

import asyncio
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from tests.api.asking import submit, until
from tests.api.bad import STRICT, assert_problem
from tests.api.feeding import SSE, everything, feed, page, take
from tests.services import Frame, Services, Watching, serving_api

from daybook.domain.events import AppPublished
from daybook.log.envelope import LANES, START, covers
from daybook_api.feed import cursor as feed_cursor
from daybook_api.feed.facts import NAMES

ECHO = ["task.queued", "task.running", "task.success"]
YEARLY = {"app": "t.echo", "cron": "0 0 1 1 *"}


def _names(items: list[dict[str, Any]]) -> list[str]:
    return [item["event"] for item in items]


async def _here(client: httpx2.AsyncClient) -> str:
    """The place where nothing of the test has happened yet."""
    return str((await page(client))["next_cursor"])


async def test_a_task_is_told_from_its_first_fact_to_its_last(client: httpx2.AsyncClient, owner: str) -> None:
    async with feed(client) as stream:
        assert stream.response.headers["Content-Type"].startswith("text/event-stream")
        assert stream.response.headers["Cache-Control"] == "no-store"
        task = await submit(client)
        queued, running, success = await stream.until("task.success")
    assert [queued.event, running.event] == ["task.queued", "task.running"]
    assert set(queued.data) == {"id", "event", "kind", "subject", "version", "at", "owner", "app", "status", "data"}
    assert {key: queued.data[key] for key in ("kind", "subject", "version", "owner", "app", "status")} == {
        "kind": "task.submitted.v1",
        "subject": task["id"],
        "version": 1,
        "owner": owner,
        "app": "t.echo",
        "status": "queued",
    }
    assert queued.data["id"].startswith("evt_")
    assert queued.data["data"]["input"]["media_type"] == "application/json"
    assert (running.data["status"], running.data["version"], running.data["data"]["attempt"]) == ("running", 2, 1)
    assert (success.data["status"], success.data["version"], success.data["app"]) == ("success", 3, "t.echo")
    assert len({queued.id, running.id, success.id}) == 3
    events = (await client.get(task["links"]["events"])).json()["items"]
    assert [{key: frame.data[key] for key in event} for frame, event in zip((queued, running, success), events, strict=True)] == events


async def test_a_page_says_what_the_stream_says(client: httpx2.AsyncClient) -> None:
    async with feed(client) as stream:
        for _ in range(3):
            await submit(client)
        frames = await take(stream, 9)
    items = await everything(client, types="task")
    assert items == [frame.data for frame in frames]
    assert await everything(client, limit=2, types="task") == items
    async with feed(client, cursor="start", types="task") as stream:
        assert await take(stream, 9) == frames


@pytest.mark.parametrize("cut", range(12))
async def test_who_comes_back_is_told_exactly_what_followed(strict: httpx2.AsyncClient, services: Services, cut: int) -> None:
    """Cut after every event: as a stream, as pages, and at another API process."""
    async with services.client(await services.token(f"cut-{cut}")) as client:
        frames = await _a_story(client)
        last, rest = frames[cut].id, frames[cut + 1 :]
        async with feed(client, last) as stream:
            assert await take(stream, len(rest)) == rest
        assert await everything(client, last, limit=5) == [frame.data for frame in rest]
        if cut % 4:
            return
        async with serving_api(services.settings) as served, httpx2.AsyncClient(base_url=served.url, headers=client.headers) as elsewhere:
            async with feed(elsewhere, last, cursor="now") as stream:
                told = await take(stream, len(rest))
            assert [frame.data for frame in told] == [frame.data for frame in rest]
            for one, other in pairwise(told):
                async with feed(client, one.id) as stream:
                    assert (await take(stream, 1))[0].data == other.data


async def _a_story(client: httpx2.AsyncClient) -> list[Frame]:
    """Twelve events of four tasks, mixed."""
    async with feed(client) as stream:
        await asyncio.gather(*(submit(client) for _ in range(4)))
        return await take(stream, 12)


async def test_nobody_is_told_of_what_is_anothers(client: httpx2.AsyncClient, owner: str, services: Services) -> None:
    other, elsewhere = f"{owner}-other", f"{owner}-space"
    await services.announce(AppPublished(app="t.echo", app_kind="python", version="1", actor="a test"), elsewhere)
    admin = ("admin",)
    async with (
        services.client(await services.token(other)) as theirs,
        services.client(await services.token(owner, namespace=elsewhere)) as abroad,
        services.client(await services.token("root", scopes=admin)) as root,
        services.client(await services.token(owner, namespace=elsewhere, scopes=admin)) as root_abroad,
    ):
        here = await _here(root)
        async with feed(client) as mine, feed(root) as all_of_it:
            task_abroad = await submit(abroad, wait=False)
            their_task = await submit(theirs)
            task = await submit(client)
            frames = await take(mine, 3)
            assert {frame.data["subject"] for frame in frames} == {task["id"]}
            assert [frame.data["subject"] for frame in await take(all_of_it, 6)] == [their_task["id"]] * 3 + [task["id"]] * 3
        assert {item["subject"] for item in await everything(client, types="task")} == {task["id"]}
        assert {item["subject"] for item in await everything(theirs, types="task")} == {their_task["id"]}
        for client_abroad in (abroad, root_abroad):
            assert _names(await everything(client_abroad)) == ["app.published", "task.queued"]
        assert [item["subject"] for item in await everything(root_abroad, types="task")] == [task_abroad["id"]]
        assert {item["owner"] for item in await everything(root, here)} == {owner, other}
        assert {item["owner"] for item in await everything(root, here, owner=other)} == {other}
        assert {item["owner"] for item in await everything(client, owner=owner)} == {owner}
        assert_problem(await client.get("/v1/events", params={"owner": other}), 403, "forbidden", None)
        assert await everything(client, task=their_task["id"]) == []


async def test_a_token_without_the_scope_or_without_being_one_is_told_nothing(services: Services, owner: str) -> None:
    async with services.client(await services.token(owner, scopes=("submit",))) as client, services.client(None) as anybody:
        for headers in ({}, SSE):
            assert_problem(await client.get("/v1/events", headers=headers), 403, "forbidden", None)
            assert_problem(await anybody.get("/v1/events", headers=headers), 401, "unauthorized", None)


async def test_who_acts_for_many_hears_of_the_one_that_they_name(services: Services, owner: str) -> None:
    token = await services.token("backend", scopes=("submit", "read", "act_as"))
    async with services.client(token, **{"Daybook-Owner": owner}) as backend, feed(backend) as stream:
        task = await submit(backend)
        assert {frame.data["subject"] for frame in await take(stream, 3)} == {task["id"]}


async def test_apps_are_everybodys_in_their_namespace_and_nobodys_elsewhere(client: httpx2.AsyncClient, services: Services, owner: str) -> None:
    name, abroad = f"a.{owner}", f"{owner}-apart"
    published = AppPublished(app=name, app_kind="python", version="1", doc="What it does.", actor="a test")
    async with (
        services.client(await services.token(owner, namespace=abroad)) as other,
        feed(client) as here,
        feed(other) as there,
        feed(client, owner=owner) as by_name,
    ):
        await services.announce(published, abroad)
        await services.announce(published, "default")
        (frame,) = await take(here, 1)
        assert (frame.event, frame.data["app"], frame.data["owner"], frame.data["status"]) == ("app.published", name, None, None)
        assert frame.data["subject"].startswith("app_")
        assert frame.data["data"]["doc"] == "What it does."
        (frame_there,) = await take(there, 1)
        assert frame_there.data["subject"] != frame.data["subject"]
        await submit(client)
        assert [each.event for each in await take(here, 3)] == [each.event for each in await take(by_name, 3)] == ECHO
        assert _names(await everything(other)) == ["app.published"]


async def test_tokens_are_nobodys_business(services: Services, owner: str) -> None:
    async with services.client(await services.token("root", scopes=("admin",))) as root:
        here = await _here(root)
        await services.revoke(await services.token(owner))
        assert await everything(root, here) == []


async def test_a_schedule_and_its_tasks(client: httpx2.AsyncClient) -> None:
    async with feed(client) as stream:
        schedule = (await client.post("/v1/schedules", json=YEARLY)).json()
        path = f"/v1/schedules/{schedule['id']}"
        await submit(client)
        triggered = (await client.post(f"{path}/trigger")).json()
        await until(client, triggered, "success")
        await client.post(f"{path}/pause", json={"note": "later"})
        await client.post(f"{path}/resume")
        await client.delete(path)
        frames = await stream.until("schedule.deleted")
    created = frames[0]
    assert (created.event, created.data["kind"], created.data["subject"]) == ("schedule.created", "schedule.created.v1", schedule["id"])
    assert (created.data["app"], created.data["status"], created.data["owner"]) == ("t.echo", None, schedule["owner"])
    of_schedule = ["schedule.created", "slot.fired", *ECHO, "schedule.paused", "schedule.resumed", "schedule.deleted"]
    assert _names(await everything(client, schedule=schedule["id"])) == of_schedule
    assert {item["subject"] for item in await everything(client, schedule=schedule["id"])} == {schedule["id"], triggered["id"]}
    assert _names(await everything(client, types="schedule,slot")) == [name for name in of_schedule if not name.startswith("task.")]
    assert _names(await everything(client, types="slot")) == ["slot.fired"]
    assert sorted(frame.event for frame in frames) == sorted(of_schedule + ECHO)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [*ECHO, "task.queued", "task.running", "task.error", "task.scheduled", "task.cancelled"]),
        ({"app": "t.echo"}, [*ECHO, "task.scheduled", "task.cancelled"]),
        ({"app": "t.fails"}, ["task.queued", "task.running", "task.error"]),
        ({"app": "t.nothing"}, []),
        ({"types": "task"}, [*ECHO, "task.queued", "task.running", "task.error", "task.scheduled", "task.cancelled"]),
        ({"types": "task.error, task.cancelled"}, ["task.error", "task.cancelled"]),
        ({"types": "task.running,schedule", "app": "t.fails"}, ["task.running"]),
        ({"types": "slot,app"}, []),
    ],
)
async def test_filters_narrow_pages_and_streams_alike(client: httpx2.AsyncClient, asked: dict[str, str], expected: list[str]) -> None:
    here = await _here(client)
    async with feed(client, **asked) as stream:
        await submit(client)
        await submit(client, "t.fails", {"message": "no luck"})
        later = await submit(client, delay="1h", wait=False)
        await client.post(f"{later['links']['self']}/cancel")
        assert _names(await everything(client, here, 1000, **asked)) == expected
        assert [frame.event for frame in await take(stream, len(expected))] == expected
    assert _names(await everything(client, task=later["id"])) == ["task.scheduled", "task.cancelled"]
    async with feed(client, task=later["id"], cursor="start") as stream:
        assert [frame.event for frame in await take(stream, 2)] == ["task.scheduled", "task.cancelled"]


async def test_a_request_to_cancel_has_a_name_of_its_own(client: httpx2.AsyncClient, gate: Any) -> None:
    task = await submit(client, "t.gated", {"gate": gate.name}, wait=False)
    await gate.reached()
    await client.post(f"{task['links']['self']}/cancel")
    await until(client, task, "cancelled")
    items = await everything(client, types="task")
    assert _names(items) == ["task.queued", "task.running", "task.cancel_requested", "task.cancelled"]
    assert [item["status"] for item in items] == ["queued", "running", "running", "cancelled"]


async def test_a_feed_begins_now_unless_told_otherwise(client: httpx2.AsyncClient) -> None:
    await submit(client)
    for asked in ({}, {"cursor": "now"}):
        assert (await page(client, **asked))["items"] == []
        async with feed(client, **asked) as stream:
            task = await submit(client)
            assert {frame.data["subject"] for frame in await take(stream, 3)} == {task["id"]}
    assert _names(await everything(client, types="task")) == ECHO * 3


async def test_a_list_with_the_position_of_the_beginning_and_the_feed_leave_no_gap(client: httpx2.AsyncClient) -> None:
    before = await submit(client, delay="1h", wait=False)
    async with client.stream("GET", "/v1/events", headers=SSE) as answer:
        (begin, *_) = await take(stream := Watching(answer), 1)
        after = await submit(client, delay="1h", wait=False)
        listed = await client.get("/v1/tasks", headers={"Daybook-Position": begin.data["position"]})
        assert before["id"] in {task["id"] for task in listed.json()["items"]}
        (told,) = await take(stream, 1)
    assert told.data["subject"] == after["id"]


async def test_a_page_waits_for_what_comes(client: httpx2.AsyncClient) -> None:
    here = await _here(client)
    waiting = asyncio.create_task(client.get("/v1/events", params={"cursor": here}, headers={"Prefer": "wait=10"}))
    async with feed(client) as stream:  # by then, the other request was there too
        task = await submit(client, delay="1h", wait=False)
        await take(stream, 1)
    answer = await waiting
    assert answer.headers["Preference-Applied"] == "wait=10"
    assert [(item["event"], item["subject"]) for item in answer.json()["items"]] == [("task.scheduled", task["id"])]
    following = answer.json()["next_cursor"]
    assert await everything(client, following) == []
    await client.post(f"{task['links']['self']}/cancel")
    assert _names((await page(client, "wait=10", cursor=following))["items"]) == ["task.cancelled"]


async def test_a_wait_that_was_in_vain_leads_on(client: httpx2.AsyncClient, services: Services) -> None:
    started = asyncio.get_running_loop().time()
    waiting = asyncio.create_task(page(client, "wait=1"))
    async with services.client(await services.token("somebody-else")) as other:
        await submit(other)
    found = await waiting
    assert (found["items"], found["more"]) == ([], False)
    assert asyncio.get_running_loop().time() - started >= 1
    await submit(client)
    assert _names(await everything(client, found["next_cursor"])) == ECHO


async def test_a_page_with_something_to_say_does_not_wait(client: httpx2.AsyncClient) -> None:
    await submit(client)
    async with asyncio.timeout(5):
        found = await page(client, "wait=60", cursor="start", types="task", limit=2)
    assert (_names(found["items"]), found["more"]) == (ECHO[:2], True)


async def test_silence_leads_on_too(client: httpx2.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose filter matches nothing is not told again, when it comes back, of all that did not match."""
    monkeypatch.setattr(services.api.gateway, "heartbeat_seconds", 0.05)
    async with feed(client, types="slot") as stream, feed(client) as all_of_it:
        await submit(client)
        last = feed_cursor.parse((await take(all_of_it, 3))[-1].id, "default")
        assert last is not None
        reached = START
        while not covers(reached, last):
            beat = await stream.next()
            assert beat is not None
            assert (beat.event, beat.data) == ("heartbeat", {})
            earlier, reached = reached, feed_cursor.parse(beat.id, "default") or START
            assert covers(reached, earlier)
        assert await everything(client, feed_cursor.spell(reached, "default")) == []


QUERIES = {
    "an unknown parameter": "type=task",
    "an unknown name": "types=task.done",
    "an unknown group": "types=tokens",
    "an empty name": "types=",
    "a name of a kind": "types=task.submitted",
    "no cursor": "cursor=abc",
    "an empty cursor": "cursor=",
    "a cursor with a letter wrong": f"cursor={feed_cursor.spell((1,) * LANES, STRICT)[:-2]}AA",
    "a cursor of another namespace": f"cursor={feed_cursor.spell((1,) * LANES, 'default')}",
    "a cursor beyond the end of the log": f"cursor={feed_cursor.spell((2**62,) * LANES, STRICT)}",
    "a cursor in capitals": "cursor=START",
    "limit 0": "limit=0",
    "limit 1001": "limit=1001",
    "limit abc": "limit=abc",
    "no task": "task=tsk_1",
    "a schedule for a task": "task=sch_01kbr5vc2ze8trbz1mgbpz5yqd",
    "no schedule": "schedule=x",
    "a cursor twice": "cursor=now&cursor=now",
}


@pytest.mark.parametrize("name", QUERIES)
async def test_a_bad_query_is_refused_by_the_name_of_its_parameter(strict: httpx2.AsyncClient, name: str) -> None:
    here = await _here(strict)
    for headers in ({}, SSE, {"Last-Event-ID": here} if "beyond" not in name else {}):
        answer = await strict.get(f"/v1/events?{QUERIES[name]}", headers=headers)
        assert_problem(answer, 400, "invalid-request", None)
        assert QUERIES[name].partition("=")[0] in answer.json()["detail"]


async def test_an_unknown_name_is_told_which_there_are(strict: httpx2.AsyncClient) -> None:
    answer = (await strict.get("/v1/events?types=task.running,task.done")).json()
    assert "'task.done'" in answer["detail"]
    assert all(name in answer["hint"] for name in NAMES)


async def test_a_bad_last_event_id_is_refused_by_its_name(strict: httpx2.AsyncClient) -> None:
    for id_ in ("now", "3.1.0", feed_cursor.spell((1,) * LANES, "default"), feed_cursor.spell((2**62,) * LANES, STRICT)):
        for headers in ({}, SSE):
            answer = await strict.get("/v1/events", headers=headers | {"Last-Event-ID": id_})
            assert_problem(answer, 400, "invalid-request", None)
            assert "Last-Event-ID" in answer.json()["detail"]


async def test_a_stream_has_no_limit(strict: httpx2.AsyncClient) -> None:
    answer = await strict.get("/v1/events?limit=5", headers=SSE)
    assert_problem(answer, 400, "invalid-request", None)
    assert "limit" in answer.json()["detail"]
