"""The async client: the same names as the blocking one, and the same flows behind them."""

import asyncio
import inspect

import pytest
from tests.client.fake_api import (
    TASK_ID,
    TASK_PATH,
    Drop,
    FakeApi,
    Say,
    Stream,
    failed,
    problem,
    task,
    whole_stream,
)

from daybook.client import AsyncClient, AsyncSchedule, AsyncTask, Client, NotFound, Schedule, Task, TaskError, Unavailable, Unreachable
from daybook.client.aio_methods import AsyncApps, AsyncSchedules, AsyncTasks
from daybook.client.sync_methods import Apps, Schedules, Tasks


@pytest.mark.parametrize(
    ("one", "other"),
    [(Client, AsyncClient), (Tasks, AsyncTasks), (Schedules, AsyncSchedules), (Apps, AsyncApps), (Task, AsyncTask), (Schedule, AsyncSchedule)],
)
def test_both_clients_have_the_same_names_and_parameters(one: type, other: type) -> None:
    def surface(kind: type) -> dict[str, list[str]]:
        public = {name: member for name, member in vars(kind).items() if not name.startswith("_")}
        return {name: list(inspect.signature(member).parameters) if callable(member) else [] for name, member in public.items()}

    assert surface(one) == surface(other)


@pytest.mark.parametrize("kind", [Tasks, AsyncTasks, Task, AsyncTask, Schedules, AsyncSchedules, Schedule, AsyncSchedule])
def test_methods_made_from_flows_are_documented(kind: type) -> None:
    for name, member in vars(kind).items():
        if callable(member) and not name.startswith("_"):
            assert member.__doc__, name


async def test_submit_wait_and_result(api: FakeApi, aclient: AsyncClient) -> None:
    api.on("POST /v1/tasks", Drop(), Say(202, task()))
    api.on(f"GET {TASK_PATH}", Say(200, task("running", 2)), Say(200, task("success", 3)))
    api.on(f"GET {TASK_PATH}/result", Say(200, {"width": 800}))
    submitted = await aclient.tasks.submit("images.resize", {"url": "x"})
    assert await submitted.result(timeout=60) == {"width": 800}
    assert (await submitted.refresh()).status == "success"
    first, second = api.asked("POST /v1/tasks")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


async def test_a_rerun_is_another_task_and_a_retry_the_same(api: FakeApi, aclient: AsyncClient) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, failed()))
    api.on(f"POST {TASK_PATH}/rerun", Say(202, task(rerun_of=TASK_ID)))
    api.on(f"POST {TASK_PATH}/retry", Say(200, task("queued", 4)))
    handle = await aclient.tasks.get(TASK_ID)
    again = await handle.rerun(input={"url": "y"})
    assert (again is not handle, again.status, handle.status) == (True, "queued", "error")
    assert await handle.retry() is handle
    assert handle.view.version == 4


async def test_errors_are_the_same(api: FakeApi, aclient: AsyncClient) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, failed()))
    api.on("GET /v1/apps", problem(503, "busy", "busy", headers={"Retry-After": "0"}))
    api.on("GET /v1/apps/gone", Drop())
    with pytest.raises(TaskError, match="too large"):
        await aclient.tasks.result(TASK_ID)
    with pytest.raises(NotFound):
        await aclient.tasks.get("tsk_other")
    with pytest.raises(Unavailable):
        await aclient.apps.list()
    with pytest.raises(Unreachable):
        await aclient.apps.get("gone")


async def test_a_list_walks_through_its_pages(api: FakeApi, aclient: AsyncClient) -> None:
    page = {"items": [task(), task("running", 2)], "next_cursor": "c1"}
    api.on("GET /v1/tasks", Say(200, page), Say(200, page), Say(200, {"items": [task()], "next_cursor": None}))
    assert [each.status async for each in aclient.tasks.list(limit=3)] == ["queued", "running", "queued"]
    assert len(api.seen) == 2


async def test_lists_carry_the_positions_of_this_clients_writes(api: FakeApi, aclient: AsyncClient) -> None:
    api.on("POST /v1/tasks", Say(202, task(), {"Daybook-Position": "3:17"}))
    api.on("GET /v1/tasks", Say(200, {"items": [], "next_cursor": None}))
    await asyncio.gather(*(aclient.tasks.submit("hello") for _ in range(5)))
    assert [each async for each in aclient.tasks.list()] == []
    assert api.seen[-1].headers["daybook-position"] == "3:17"


async def test_a_cut_stream_is_resumed(api: FakeApi, aclient: AsyncClient) -> None:
    frames = whole_stream()
    half = frames[3][: len(frames[3]) // 2]
    api.on(f"GET {TASK_PATH}/events", Stream(b"".join(frames[:3]) + half, "cut"), Stream(b"".join(frames[3:])))
    types = [event.type async for event in aclient.tasks.watch(TASK_ID)]
    assert types[2:5] == ["progress", "reconnecting", "log"]
    assert types[-1] == "end"
    assert [seen.headers.get("last-event-id") for seen in api.seen] == [None, "2.1.1"]


async def test_a_cancelled_wait_asks_no_more(api: FakeApi, aclient: AsyncClient) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, task()), Say(304))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await aclient.tasks.wait(TASK_ID)
    assert len(api.seen) <= 2
