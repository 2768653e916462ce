"""The client's way to log lines: all pages that there are, as values."""

import pytest
from tests.client.fake_api import AT, TASK_ID, TASK_PATH, FakeApi, Say

from daybook import AsyncClient, Client

LOGS = f"GET {TASK_PATH}/logs"
LINE = {"attempt": 1, "n": 1, "at": AT, "level": "info", "message": "said", "fields": {"a": 1}}


@pytest.fixture(autouse=True)
def _pages(api: FakeApi) -> None:
    api.on(
        LOGS,
        Say(200, {"items": [LINE], "next_after": "1.1"}),
        Say(200, {"items": [LINE | {"n": 2}], "next_after": "1.2"}),
        Say(200, {"items": [], "next_after": "1.2"}),
    )


def test_all_there_is(api: FakeApi) -> None:
    with Client(api.url, "dbk_test") as client:
        lines = client.tasks.logs(TASK_ID, level="info")
    assert [(line.n, line.message, line.fields) for line in lines] == [(1, "said", {"a": 1}), (2, "said", {"a": 1})]
    assert [dict(seen.query) for seen in api.seen] == [{"level": "info"}, {"level": "info", "after": "1.1"}, {"level": "info", "after": "1.2"}]


async def test_the_last_ones(api: FakeApi) -> None:
    async with AsyncClient(api.url, "dbk_test") as client:
        lines = await client.tasks.logs(TASK_ID, attempt=2, tail=1)
    assert [line.n for line in lines] == [1]
    assert [dict(seen.query) for seen in api.seen] == [{"attempt": "2", "tail": "1"}]
