"""POST /v1/schedules/preview: what a cadence means, told before anybody relies on it."""

import httpx2
from tests.services import Services

from daybook import clock


async def test_preview_looks_over_a_change_of_the_clocks(client: httpx2.AsyncClient) -> None:
    body = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "after": "2027-03-27T00:00:00Z", "count": 3}
    answer = await client.post("/v1/schedules/preview", json=body)
    assert answer.status_code == 200, answer.text
    preview = answer.json()
    assert preview["words"] == "At 02:30, in Europe/Berlin"
    assert preview["next"] == [
        {"at": "2027-03-27T01:30:00Z", "local": "2027-03-27T02:30:00+01:00"},
        {"at": "2027-03-28T01:00:00Z", "local": "2027-03-28T03:00:00+02:00"},
        {"at": "2027-03-29T00:30:00Z", "local": "2027-03-29T02:30:00+02:00"},
    ]
    assert [(note["at"], note["kind"]) for note in preview["notes"][:2]] == [("2027-03-28T01:00:00Z", "gap"), ("2027-10-31T01:00:00Z", "fold")]
    skipping = (await client.post("/v1/schedules/preview", json=body | {"dst_gap": "skip", "dst_fold": "twice"})).json()
    assert [slot["at"] for slot in skipping["next"]] == ["2027-03-27T01:30:00Z", "2027-03-29T00:30:00Z", "2027-03-30T00:30:00Z"]
    autumn = (await client.post("/v1/schedules/preview", json=body | {"after": "2027-10-30T12:00:00Z", "dst_fold": "twice"})).json()
    assert [slot["local"] for slot in autumn["next"]] == ["2027-10-31T02:30:00+02:00", "2027-10-31T02:30:00+01:00", "2027-11-01T02:30:00+01:00"]
    calm = (await client.post("/v1/schedules/preview", json={"cron": "*/15 * * * *", "start_at": "2028-01-01T00:00:00Z"})).json()
    assert (len(calm["next"]), calm["next"][0]["at"], calm["notes"], calm["timezone"]) == (5, "2028-01-01T00:00:00Z", [], "UTC")
    bounded = (await client.post("/v1/schedules/preview", json={"cron": "0 0 1 1 *", "end_at": f"{clock.now().year + 2}-06-01T00:00:00Z"})).json()
    assert len(bounded["next"]) == 2


async def test_preview_goes_to_the_ends_of_the_calendar_and_saves_nothing(strict: httpx2.AsyncClient, services: Services) -> None:
    before = await services.events("strict")
    for after in ("0001-01-01T00:00:00Z", "9990-01-01T00:00:00Z"):
        answer = await strict.post("/v1/schedules/preview", json={"cron": "@daily", "timezone": "Europe/Berlin", "after": after, "count": 100})
        assert (answer.status_code, len(answer.json()["next"])) == (200, 100)
    beyond = await strict.post("/v1/schedules/preview", json={"cron": "@daily", "after": "9999-12-31T12:00:00Z"})
    assert (beyond.status_code, beyond.json()["errors"][0]["pointer"]) == (422, "/cron")
    assert await services.events("strict") == before


async def test_preview_is_what_a_schedule_then_says(client: httpx2.AsyncClient) -> None:
    rule = {"cron": "15,45 */5 * * mon#1,fri", "timezone": "America/New_York", "dst_fold": "twice"}
    schedule = (await client.post("/v1/schedules", json={"app": "t.echo"} | rule)).json()
    preview = (await client.post("/v1/schedules/preview", json=rule)).json()
    assert (schedule["words"], schedule["next"]) == (preview["words"], [slot["at"] for slot in preview["next"]])
