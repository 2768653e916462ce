"""The examples load, and do what they say."""

from pathlib import Path

import msgspec
import pytest

from daybook.context import Context
from daybook.manifest import Definition
from daybook_runner.executors import Call, Executors, Success
from daybook_runner.loading import load

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def apps() -> dict[str, Definition]:
    return load([str(EXAMPLES), str(EXAMPLES / "apps")])


def test_all_of_them_load(apps: dict[str, Definition]) -> None:
    assert {name: app.kind for name, app in apps.items()} == {
        "hello.greet": "python",
        "texts.statistics": "python",
        "summarise": "chat",
        "fetch": "http",
    }
    assert all(app.doc for app in apps.values())


async def test_greet(apps: dict[str, Definition]) -> None:
    async with Executors() as executors:
        call = Call(task_id="tsk_1", attempt=1, definition=apps["hello.greet"], input={"name": "Ada"})
        assert await executors.execute(call, Context.for_test()) == Success(content=b'"Hello, Ada!"')


async def test_statistics_count_every_word_and_say_how_far_they_are(apps: dict[str, Definition]) -> None:
    text = "Don't count your chickens. Count eggs! Éggs? Café au lait\u2026 " * 2_000
    context = Context.for_test()
    async with Executors() as executors:
        given = {"text": text, "most_common": 2}
        call = Call(task_id="tsk_1", attempt=1, definition=apps["texts.statistics"], input=given)
        outcome = await executors.execute(call, context)
    assert isinstance(outcome, Success)
    found = msgspec.json.decode(outcome.content)
    assert (found["words"], found["different_words"], found["sentences"]) == (20_000, 9, 8_000)
    assert found["most_common"] == [{"word": "count", "count": 4_000}, {"word": "don't", "count": 2_000}]
    assert found["reading_minutes"] == 84.0
    told = [message.fields["percent"] for message in context.said if message.type == "progress"]
    assert told == sorted(told)
    assert told[-1] == 100.0
    assert len(told) > 3
