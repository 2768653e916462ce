"""Large payloads: in Postgres, in a folder, in a bucket; readable wherever they were written, and never lost quietly."""

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from tests.services import Services, running_services, serving_api
from tests.shared.bucket import Bucket, serving_bucket

from daybook import App, blobs
from daybook.blobs import BlobDamaged, BlobsUnavailable, open_blobs
from daybook.log import connections
from daybook.log.postgres import Log
from daybook.settings import Settings, SettingsError, load
from daybook.testing.proxy import Proxy

DIGEST = "ab" * 32
PREFIX = f"/bucket/some/where/{DIGEST}"
PLACE = "s3://bucket/some/where"

app = App("b")


@app.task
async def echo(value: str, times: int = 1) -> str:
    """Return what came, a number of times."""
    return value * times


class Away(NamedTuple):
    """A bucket, and the proxy through which alone it is reached."""

    bucket: Bucket
    proxy: Proxy


@pytest_asyncio.fixture(loop_scope="session")
async def log(url_as: Callable[[str], str]) -> AsyncIterator[Log]:
    opened = await Log.open(url_as("daybook_api"), "api", pool_size=2, writers=1)
    yield opened
    await opened.close()


@pytest_asyncio.fixture(loop_scope="session")
async def away(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Away]:
    async with serving_bucket() as bucket, Proxy("127.0.0.1", bucket.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        monkeypatch.setenv("AWS_REGION", "here")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "something")
        # A test has no patience.
        monkeypatch.setattr(blobs, "CALL_SECONDS", 0.5)
        yield Away(bucket, proxy)


@pytest.fixture(params=["postgres", "folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, away: Away) -> str:
    return {"postgres": "", "folder": f"file://{tmp_path}/of%20blobs", "bucket": PLACE}[request.param]


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 5_000, b"x" * 3 * 1024 * 1024])
async def test_what_was_put_is_there(log: Log, place: str, content: bytes) -> None:
    store = open_blobs(place, log)
    assert await store.get(DIGEST, len(content)) is None
    await store.put(DIGEST, content)
    await store.put(DIGEST, content)
    assert await store.get(DIGEST, len(content)) == content
    assert await store.get("cd" * 32, 1) is None
    await store.close()


async def test_a_blob_of_another_size_is_not_shown(log: Log, place: str) -> None:
    store = open_blobs(place, log)
    await store.put(DIGEST, b"cut of")
    with pytest.raises(BlobDamaged):
        await store.get(DIGEST, 7)


async def test_an_object_is_named_by_its_digest_under_the_prefix(log: Log, tmp_path: Path, away: Away) -> None:
    await open_blobs(f"file://{tmp_path}", log).put(DIGEST, b"a")
    await open_blobs(PLACE, log).put(DIGEST, b"b")
    assert (tmp_path / DIGEST).read_bytes() == b"a"
    assert away.bucket.objects == {PREFIX: b"b"}
    assert await log.get_blob(DIGEST) is None


async def test_blobs_are_read_where_they_lie_after_the_setting_has_changed(log: Log, tmp_path: Path, away: Away) -> None:
    folder = f"file://{tmp_path}"
    await open_blobs("", log).put("a", b"in Postgres")
    await open_blobs(folder, log).put("b", b"in a folder")
    await open_blobs(PLACE, log).put("c", b"in a bucket")
    assert await open_blobs(folder, log).get("a", 11) == b"in Postgres"
    back = open_blobs(f"postgres, {folder}, {PLACE}", log)
    assert [await back.get(digest, 11) for digest in "abc"] == [b"in Postgres", b"in a folder", b"in a bucket"]
    await back.put("d", b"in Postgres again")
    assert await log.get_blob("d") == b"in Postgres again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]


async def test_a_damaged_blob_is_looked_for_elsewhere(log: Log, tmp_path: Path) -> None:
    await open_blobs("", log).put(DIGEST, b"whole")
    (tmp_path / DIGEST).write_bytes(b"who")
    assert await open_blobs(f"file://{tmp_path}", log).get(DIGEST, 5) == b"whole"


@pytest.mark.parametrize("fault", ["refused", "stalled", 403, 500, 503])
async def test_a_store_that_does_not_serve_us_is_unavailable_and_soon(log: Log, away: Away, fault: str | int) -> None:
    store = open_blobs(PLACE, log)
    await store.put(DIGEST, b"a")
    await log.put_blob("in Postgres", b"b")
    match fault:
        case "refused":
            away.proxy.refuse()
        case "stalled":
            away.proxy.stall()
        case _:
            away.bucket.refusal = int(fault)
    with pytest.raises(BlobsUnavailable):
        await store.put("other", b"c")
    # It may have it: it is not known to be gone.
    for digest in (DIGEST, "other"):
        with pytest.raises(BlobsUnavailable):
            await store.get(digest, 1)
    assert await store.get("in Postgres", 1) == b"b"
    away.proxy.heal()
    away.bucket.refusal = None
    assert await store.get(DIGEST, 1) == b"a"


async def test_a_folder_that_cannot_be_made_is_refused_at_the_start(log: Log, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="DAYBOOK_BLOBS"):
        open_blobs(f"file://{tmp_path}/file/folder", log)


async def test_without_obstore_it_is_said_which_extra_brings_it(log: Log, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "obstore"]:
        monkeypatch.setitem(sys.modules, name, None)
    open_blobs("", log)
    with pytest.raises(SettingsError, match=r"daybook-tasks\[blobs\]"):
        open_blobs(f"file://{tmp_path}", log)


@pytest.mark.parametrize(
    "address",
    [
        "here",
        "/tmp/x",
        "file://",
        "file:///",
        "file://host/x",
        "s3://",
        "s3:///x",
        "s3://b?x=1",
        "s3://b:1/x",
        "s3://[",
        "ftp://h/x",
        "memory:///",
        "postgres,nowhere",
    ],
)
def test_what_is_no_address_of_a_store_is_refused_by_the_settings(address: str) -> None:
    with pytest.raises(SettingsError, match="DAYBOOK_BLOBS"):
        load({"DAYBOOK_BLOBS": address})


def test_a_refusal_does_not_repeat_a_password() -> None:
    with pytest.raises(SettingsError) as refused:
        load({"DAYBOOK_BLOBS": "s3://somebody:geheim@bucket/x"})
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize("limit", ["0", "-1", "1073741824", "1.5", "much"])
def test_a_limit_of_results_is_a_sensible_number(limit: str) -> None:
    with pytest.raises(SettingsError, match=r"(?i)result_limit_bytes"):
        load({"DAYBOOK_RESULT_LIMIT_BYTES": limit})


@pytest_asyncio.fixture(loop_scope="session")
async def services(database_url: str, nats_url: str, away: Away) -> AsyncIterator[Services]:
    async with running_services(Settings(database_url=database_url, nats_url=nats_url, blobs=PLACE), app) as running:
        yield running


async def test_a_large_input_and_its_result_travel_through_the_bucket(services: Services, away: Away) -> None:
    async with services.client(await services.token()) as client:
        given = {"value": "x" * 10_000, "times": 2}
        answer = await client.post("/v1/tasks", json={"app": "b.echo", "input": given}, headers={"Prefer": "wait=20"})
        task = answer.json()
        assert (answer.status_code, task["status"], task["input"]) == (200, "success", given)
        result = await client.get(task["result"]["href"])
    assert result.json() == "x" * 20_000
    assert sorted(len(content) for content in away.bucket.objects.values()) == [len('{"value":"","times":2}') + 10_000, 20_002]
    assert await services.api.gateway.log.pool.fetchval("SELECT count(*) FROM daybook.blob") == 0


async def test_while_the_bucket_is_away_large_tasks_are_refused_and_small_ones_accepted(services: Services, away: Away) -> None:
    large, small = {"app": "b.echo", "input": {"value": "x" * 10_000}}, {"app": "b.echo", "input": {"value": "x"}}
    async with services.client(await services.token()) as client:
        away.proxy.stall()
        before = await services.events("default")
        refused = await client.post("/v1/tasks", json=large)
        assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (503, "unavailable", "1")
        assert "bucket" not in refused.text
        batch = await client.post("/v1/tasks/batch", json=[large] * 50)
        assert {item["problem"]["code"] for item in batch.json()["items"]} == {"unavailable"}
        assert await services.events("default") == before
        accepted = await client.post("/v1/tasks", json=small, headers={"Prefer": "wait=20"})
        assert accepted.json()["status"] == "success"
        away.proxy.heal()
        assert (await client.post("/v1/tasks", json=large)).status_code == 202


async def test_an_api_without_its_folder_does_not_start(database_url: str, nats_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError):
        async with serving_api(Settings(database_url=database_url, nats_url=nats_url, blobs=f"file://{tmp_path}/file/x")):
            pass


async def test_a_large_blob_may_take_longer_to_arrive_than_other_commands(url_as: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its attempt would try for ever to store it."""
    monkeypatch.setattr(connections, "COMMAND_TIMEOUT_SECONDS", 0.4)
    url = url_as("daybook_api")
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    async with Proxy(place.hostname, place.port) as proxy:
        slow = await Log.open(url.replace(f":{place.port}/", f":{proxy.port}/"), "api", pool_size=1, writers=1)
        proxy.delay(0.02)  # for each 64 KiB
        await slow.put_blob(DIGEST, b"x" * 3 * 1024 * 1024)
        proxy.heal()
        assert await slow.get_blob(DIGEST) == b"x" * 3 * 1024 * 1024
        await slow.close()
