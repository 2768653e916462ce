"""Cancelling and rescheduling, in every state that a task can be in."""

import asyncio

import httpx2
import pytest
from tests.api.apps import Gate
from tests.bus.parts import settled
from tests.services import Services

from daybook import clock
from daybook.testing import eventually


async def _running(client: httpx2.AsyncClient, gate: Gate) -> str:
    location = (await client.post("/v1/tasks", json={"app": "t.gated", "input": {"gate": gate.name}})).headers["Location"]
    await gate.reached()
    return str(location)


async def _kinds(client: httpx2.AsyncClient, location: str) -> list[str]:
    return [event["kind"].split(".")[1] for event in (await client.get(f"{location}/events")).json()["items"]]


@pytest.mark.parametrize("body", [{"delay": "1h"}, {"queue": "nobody"}], ids=["scheduled", "queued"])
async def test_a_task_that_waits_is_cancelled_at_once(client: httpx2.AsyncClient, owner: str, body: dict[str, str]) -> None:
    location = (await client.post("/v1/tasks", json={"app": "t.echo", **body})).headers["Location"]
    answer = await client.post(f"{location}/cancel", json={"reason": "no longer needed"})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')
    task = answer.json()
    assert (task["status"], task["reason"], task["attempts"]) == ("cancelled", "no longer needed", [])
    assert task["finished_at"] is not None
    events = (await client.get(f"{location}/events")).json()["items"]
    assert events[1]["data"] == {"actor": f"user:{owner}", "reason": "no longer needed"}


async def test_a_running_task_is_asked_to_stop_and_stops(client: httpx2.AsyncClient, gate: Gate) -> None:
    location = await _running(client, gate)
    answer = await client.post(f"{location}/cancel")
    assert answer.status_code in {200, 202}
    assert answer.json()["status"] == ("running" if answer.status_code == 202 else "cancelled")

    async def stopped() -> bool:
        return bool((await client.get(location)).json()["status"] == "cancelled")

    # Told at once; the look into the log would take five seconds.
    await eventually(stopped, timeout_seconds=3)
    assert await _kinds(client, location) == ["submitted", "started", "cancel_requested", "cancelled"]
    task = (await client.get(location)).json()
    assert [attempt["outcome"] for attempt in task["attempts"]] == ["cancelled"]
    again = await client.post(f"{location}/cancel")
    assert (again.status_code, again.headers["ETag"]) == (200, '"4"')


async def test_a_running_task_is_running_until_its_runner_has_stopped_it(client: httpx2.AsyncClient, services: Services, gate: Gate) -> None:
    location = await _running(client, gate)
    # The runner is kept from hearing of it: the word goes to nobody.
    nats = await services.runner.bus.connected()
    told = [subscription for subscription in nats._subs.values() if subscription.subject.startswith("daybook.control.")]
    for subscription in told:
        await subscription.unsubscribe()
    try:
        await settled(nats)
        for _ in range(2):
            answer = await client.post(f"{location}/cancel")
            assert (answer.status_code, answer.json()["status"], answer.headers["ETag"]) == (202, "running", '"3"')

        async def stopped() -> bool:
            return bool((await client.get(location)).json()["status"] == "cancelled")

        await eventually(stopped, timeout_seconds=8)
    finally:
        for subscription in told:
            await nats.subscribe(subscription.subject, cb=subscription._cb)


@pytest.mark.parametrize(("app", "given", "status"), [("t.echo", {}, "success"), ("t.fails", {"message": "x"}, "error")])
async def test_a_task_that_has_ended_stays_as_it_is(client: httpx2.AsyncClient, app: str, given: dict[str, str], status: str) -> None:
    location = (await client.post("/v1/tasks", json={"app": app, "input": given}, headers={"Prefer": "wait=10"})).headers["Location"]
    before = await _kinds(client, location)
    for change, body in (("cancel", {}), ("reschedule", {"delay": "1h"})):
        answer = await client.post(f"{location}/{change}", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "already-finished")
        assert status in answer.json()["detail"]
    assert await _kinds(client, location) == before


async def test_cancelling_twice_is_cancelling_once(client: httpx2.AsyncClient) -> None:
    location = (await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).headers["Location"]
    first, second = [await client.post(f"{location}/cancel", json={"reason": reason}) for reason in ("one", "two")]
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json() == second.json()
    assert first.headers["Daybook-Position"] == second.headers["Daybook-Position"]


async def test_many_who_cancel_at_once_cancel_once(client: httpx2.AsyncClient) -> None:
    location = (await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).headers["Location"]
    answers = await asyncio.gather(*(client.post(f"{location}/cancel") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert await _kinds(client, location) == ["submitted", "cancelled"]


async def test_a_task_that_waits_may_be_given_another_time(client: httpx2.AsyncClient) -> None:
    location = (await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).headers["Location"]
    answer = await client.post(f"{location}/reschedule", json={"run_at": "2027-01-01T01:00:00+01:00"})
    assert (answer.status_code, answer.headers["ETag"]) == (200, '"2"')
    assert (answer.json()["status"], answer.json()["run_at"]) == ("scheduled", "2027-01-01T00:00:00Z")
    queued = (await client.post("/v1/tasks", json={"app": "t.echo", "queue": "nobody"})).headers["Location"]
    answer = await client.post(f"{queued}/reschedule", json={"delay": "1h"})
    assert (answer.status_code, answer.json()["status"]) == (200, "scheduled")


async def test_a_task_runs_at_its_new_time_and_not_at_the_old_one(client: httpx2.AsyncClient) -> None:
    sooner = (await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).headers["Location"]
    later = (await client.post("/v1/tasks", json={"app": "t.echo", "delay": "300ms"})).headers["Location"]
    await client.post(f"{later}/reschedule", json={"delay": "1h"})
    await client.post(f"{sooner}/reschedule", json={"delay": "400ms"})

    async def ran() -> bool:
        return bool((await client.get(sooner)).json()["status"] == "success")

    await eventually(ran)
    assert (await client.get(later)).json()["status"] == "scheduled"
    assert await _kinds(client, sooner) == ["submitted", "rescheduled", "due", "started", "succeeded"]


async def test_the_time_that_a_task_has_already_is_no_change(client: httpx2.AsyncClient) -> None:
    location = (await client.post("/v1/tasks", json={"app": "t.echo", "run_at": "2027-01-01T00:00:00Z"})).headers["Location"]
    for run_at in ("2027-01-01T00:00:00Z", "2027-01-01T02:00:00+02:00"):
        answer = await client.post(f"{location}/reschedule", json={"run_at": run_at})
        assert (answer.status_code, answer.headers["ETag"]) == (200, '"1"')
    assert await _kinds(client, location) == ["submitted"]
    refused = await client.post(f"{location}/reschedule", json={"run_at": "2027-01-01T00:00:00Z"}, headers={"If-Match": '"2"'})
    assert refused.status_code == 412


async def test_a_task_that_runs_cannot_be_given_another_time(client: httpx2.AsyncClient, gate: Gate) -> None:
    location = await _running(client, gate)
    answer = await client.post(f"{location}/reschedule", json={"delay": "1h"})
    assert (answer.status_code, answer.json()["code"]) == (409, "already-started")


async def test_a_change_can_be_made_to_depend_on_the_version(client: httpx2.AsyncClient) -> None:
    location = (await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).headers["Location"]
    for version in ('"2"', "2"):
        refused = await client.post(f"{location}/reschedule", json={"delay": "2h"}, headers={"If-Match": version})
        assert (refused.status_code, refused.json()["code"]) == (412, "version-mismatch")
        assert "it is 1 now" in refused.json()["detail"]
    assert (await client.post(f"{location}/reschedule", json={"delay": "2h"}, headers={"If-Match": '"1"'})).headers["ETag"] == '"2"'
    assert (await client.post(f"{location}/reschedule", json={"delay": "3h"}, headers={"If-Match": "*"})).headers["ETag"] == '"3"'
    assert (await client.post(f"{location}/cancel", headers={"If-Match": '"2"'})).status_code == 412
    assert (await client.post(f"{location}/cancel", headers={"If-Match": '"3"'})).status_code == 200


async def test_of_many_changes_on_one_version_one_is_made(client: httpx2.AsyncClient) -> None:
    location = (await client.post("/v1/tasks", json={"app": "t.echo", "delay": "1h"})).headers["Location"]
    times = [clock.after(7200 + number).isoformat() for number in range(20)]
    answers = await asyncio.gather(*(client.post(f"{location}/reschedule", json={"run_at": time}, headers={"If-Match": '"1"'}) for time in times))
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19
    assert await _kinds(client, location) == ["submitted", "rescheduled"]
