"""GET /v1/tasks: the history, its filters, its pages, and reading what one wrote."""

import asyncio
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.services import Services, serving_api

from daybook import clock
from daybook.log.connections import connect
from daybook.projections.projector import FOLLOWER


async def test_a_list_that_is_sent_a_position_shows_what_was_written(client: httpx2.AsyncClient) -> None:
    for number in range(20):
        submitted = await client.post("/v1/tasks", json={"app": "t.echo", "input": {"value": number}})
        listed = await client.get("/v1/tasks", headers={"Daybook-Position": submitted.headers["Daybook-Position"]})
        assert listed.json()["items"][0]["id"] == submitted.json()["id"]


async def test_several_positions_are_all_waited_for(client: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/v1/tasks", json={"app": "t.echo"}) for _ in range(20)))
    positions = ", ".join(answer.headers["Daybook-Position"] for answer in answers)
    listed = await client.get("/v1/tasks", headers={"Daybook-Position": positions})
    assert {task["id"] for task in listed.json()["items"]} == {answer.json()["id"] for answer in answers}


async def test_every_change_has_a_position_too(client: httpx2.AsyncClient) -> None:
    location = (await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).headers["Location"]
    moved = await client.post(f"{location}/reschedule", json={"run_at": "2027-05-05T05:05:05Z"})
    listed = await client.get("/v1/tasks", headers={"Daybook-Position": moved.headers["Daybook-Position"]})
    assert listed.json()["items"][0]["run_at"] == "2027-05-05T05:05:05Z"
    for _ in range(2):
        cancelled = await client.post(f"{location}/cancel", json={"reason": "changed my mind"})
        listed = await client.get("/v1/tasks", headers={"Daybook-Position": cancelled.headers["Daybook-Position"]})
        assert (listed.json()["items"][0]["status"], listed.json()["items"][0]["reason"]) == ("cancelled", "changed my mind")


async def test_a_read_model_that_does_not_catch_up_is_said_to_be_behind(client: httpx2.AsyncClient) -> None:
    started = asyncio.get_running_loop().time()
    answer = await client.get("/v1/tasks", headers={"Daybook-Position": "0:999999999999999999"})
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "read-model-behind", "1")
    assert asyncio.get_running_loop().time() - started == pytest.approx(2, abs=1)


async def test_what_is_listed_is_what_the_log_says(client: httpx2.AsyncClient) -> None:
    """The summary from the read model and the one folded from the log are the same, field by field, whatever happened."""
    bodies: list[dict[str, Any]] = [
        {"app": "t.echo", "labels": {"a": "ä", "b": ""}, "priority": 1},
        {"app": "t.fails", "input": {"message": "m"}},
        {"app": "t.echo", "delay": "50ms"},
        {"app": "t.echo", "delay": "2h"},
        {"app": "t.echo", "queue": "nobody"},
    ]
    position = ""
    for body in bodies:
        answer = await client.post("/v1/tasks", json=body, headers={"Prefer": "wait=5"} if "queue" not in body and body.get("delay") != "2h" else {})
        position = answer.headers["Daybook-Position"]
    moved = await client.post(f"{answer.headers['Location']}/cancel", json={"reason": "why"})
    position = moved.headers["Daybook-Position"]
    listed = (await client.get("/v1/tasks", headers={"Daybook-Position": position})).json()["items"]
    assert len(listed) == len(bodies)
    for summary in listed:
        task = (await client.get(f"/v1/tasks/{summary['id']}")).json()
        assert {name: task[name] for name in summary} == summary
    assert [summary["status"] for summary in reversed(listed)] == ["success", "error", "success", "scheduled", "cancelled"]


async def _made(client: httpx2.AsyncClient, *bodies: dict[str, Any]) -> list[str]:
    """Submit one after the other; returns the ids once the list shows them."""
    answers = [await client.post("/v1/tasks", json=body) for body in bodies]
    positions = ",".join(answer.headers["Daybook-Position"] for answer in answers[-60:])
    await client.get("/v1/tasks", headers={"Daybook-Position": positions})
    return [answer.json()["id"] for answer in answers]


async def _ids(client: httpx2.AsyncClient, **params: Any) -> list[str]:
    answer = await client.get("/v1/tasks", params=params)
    assert answer.status_code == 200, answer.text
    return [task["id"] for task in answer.json()["items"]]


async def test_filters_narrow_the_list(client: httpx2.AsyncClient) -> None:
    waiting, odd, labelled, labelled_twice = await _made(
        client,
        {"app": "t.echo", "delay": "1h"},
        {"app": "t.order", "input": {"name": "x"}, "queue": "nobody"},
        {"app": "t.echo", "delay": "1h", "labels": {"a": "1"}},
        {"app": "t.echo", "queue": "nobody", "labels": {"a": "1", "b": "x:y"}},
    )
    assert await _ids(client) == [labelled_twice, labelled, odd, waiting]
    assert await _ids(client, app="t.order") == [odd]
    assert await _ids(client, app="t.nothing") == []
    assert await _ids(client, status="scheduled") == [labelled, waiting]
    assert await _ids(client, status="queued,scheduled") == [labelled_twice, labelled, odd, waiting]
    assert await _ids(client, status="running") == []
    assert await _ids(client, queue="nobody") == [labelled_twice, odd]
    assert await _ids(client, queue="nobody", app="t.echo") == [labelled_twice]
    assert await _ids(client, label="a:1") == [labelled_twice, labelled]
    assert await _ids(client, label=["a:1", "b:x:y"]) == [labelled_twice]
    assert await _ids(client, label=["a:1", "a:1"]) == [labelled_twice, labelled]
    assert await _ids(client, label="a:2") == []
    assert await _ids(client, label="a:") == []


async def test_since_and_until_bound_when_it_was_submitted(client: httpx2.AsyncClient) -> None:
    first, second, third = await _made(client, *[{"app": "t.echo", "delay": "1h"}] * 3)
    at = {task["id"]: task["submitted_at"] for task in (await client.get("/v1/tasks")).json()["items"]}
    assert await _ids(client, since=at[second]) == [third, second]
    assert await _ids(client, until=at[second]) == [first]
    assert await _ids(client, since=at[second], until=at[third]) == [second]
    assert await _ids(client, since="1h") == [third, second, first]
    assert await _ids(client, until="1h") == []
    assert await _ids(client, since=datetime.fromisoformat(at[third]).astimezone().isoformat()) == [third]
    assert await _ids(client, since=clock.after(60).isoformat()) == []


@pytest.mark.parametrize("limit", [1, 3, 7, 200])
async def test_pages_are_complete_and_without_repeats_while_more_comes(client: httpx2.AsyncClient, limit: int) -> None:
    made = await _made(client, *[{"app": "t.echo", "delay": "1h", "labels": {"n": str(number)}} for number in range(25)])
    seen: list[str] = []
    url: str | None = f"/v1/tasks?limit={limit}&app=t.echo"
    while url is not None:
        answer = await client.get(url)
        page = answer.json()
        seen += [task["id"] for task in page["items"]]
        assert len(page["items"]) <= limit
        if page["next_cursor"] is None:
            assert "Link" not in answer.headers
            url = None
        else:
            target, _, rest = answer.headers["Link"][1:].partition(">")
            assert rest == '; rel="next"'
            assert f"limit={limit}" in urlsplit(target).query
            assert page["next_cursor"] in target
            url = target
        # What is new comes first, and moves nothing of what is read.
        await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})
    assert seen == made[::-1]


async def test_the_last_page_may_be_full(client: httpx2.AsyncClient) -> None:
    await _made(client, *[{"app": "t.echo", "delay": "1h"}] * 4)
    first = (await client.get("/v1/tasks?limit=2")).json()
    second = (await client.get("/v1/tasks", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    assert len(second["items"]) == 2
    assert second["next_cursor"] is None


async def test_a_page_holds_fifty_unless_told_otherwise(client: httpx2.AsyncClient) -> None:
    await client.post("/v1/tasks/batch", json=[{"app": "t.echo", "delay": "1h"}] * 51)
    await _made(client, {"app": "t.echo", "delay": "1h"})
    assert len(await _ids(client)) == 50
    assert len(await _ids(client, limit=200)) == 52


async def test_a_cursor_goes_with_its_filter(client: httpx2.AsyncClient) -> None:
    await _made(client, *[{"app": "t.echo", "delay": "1h"}] * 3)
    cursor = (await client.get("/v1/tasks", params={"limit": 1, "app": "t.echo"})).json()["next_cursor"]
    for params in ({"app": "t.order"}, {}, {"app": "t.echo", "status": "scheduled"}, {"app": "t.echo", "label": "a:b"}):
        answer = await client.get("/v1/tasks", params={"cursor": cursor, **params})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid-request"), params
    # How many are on a page is no matter of what they are.
    assert (await client.get("/v1/tasks", params={"cursor": cursor, "app": "t.echo", "limit": 2})).status_code == 200


async def test_reading_ones_writes_fails_when_nobody_projects(services: Services) -> None:
    """The API's own projector is held up by somebody else who holds its follower and does nothing."""
    connection = await connect(services.settings.database_url, None)
    try:
        position = None
        async with connection.transaction():
            await connection.execute("SELECT FROM log.cursor WHERE follower = $1 FOR UPDATE", FOLLOWER)
            async with services.client(await services.token("held-up")) as client:
                submitted = await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})
                position = submitted.headers["Daybook-Position"]
                behind = await client.get("/v1/tasks", headers={"Daybook-Position": position})
                assert (behind.status_code, behind.json()["code"]) == (503, "read-model-behind")
                assert (await client.get(submitted.headers["Location"])).json()["status"] == "scheduled"
                assert (await client.get("/v1/tasks")).json()["items"] == []
        async with services.client(await services.token("held-up")) as client:
            assert len((await client.get("/v1/tasks", headers={"Daybook-Position": position})).json()["items"]) == 1
    finally:
        await connection.close()


async def test_a_second_api_reads_what_was_written_to_the_first(services: Services, client: httpx2.AsyncClient) -> None:
    async with (
        serving_api(services.settings) as other,
        httpx2.AsyncClient(base_url=other.url, headers=client.headers, trust_env=False, verify=False) as elsewhere,
    ):
        submitted = await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})
        listed = await elsewhere.get("/v1/tasks", headers={"Daybook-Position": submitted.headers["Daybook-Position"]})
        assert [task["id"] for task in listed.json()["items"]] == [submitted.json()["id"]]
        assert (await elsewhere.get(submitted.headers["Location"])).headers["ETag"] == '"1"'
