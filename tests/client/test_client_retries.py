"""Failures on the way: what is tried again, with what, and what it is called in the end."""

import socket
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime

import pytest
import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks
from tests.client.fake_api import TASK_ID, TASK_PATH, Drop, FakeApi, Say, problem, task

from daybook import clock
from daybook.client import ApiError, BadRequest, Client, DaybookError, NotFound, Unauthorized, Unavailable, Unreachable


@pytest.fixture
def waits() -> Iterator[list[float]]:
    """How long the client waited before each retry."""
    noted: list[float] = []

    def note(details: RetryDetails) -> None:
        noted.append(details.wait_for)

    set_on_retry_hooks([note])
    yield noted
    set_on_retry_hooks(None)


def test_a_submit_whose_answer_was_lost_is_repeated_under_the_same_key(api: FakeApi, client: Client) -> None:
    api.on("POST /v1/tasks", Drop(), Say(202, task(), {"Idempotency-Replayed": "true"}))
    assert client.tasks.submit("hello", {"n": 1}).id == TASK_ID
    first, second = api.asked("POST /v1/tasks")
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body


def test_retry_after_is_honoured(api: FakeApi, client: Client, waits: list[float]) -> None:
    busy = problem(503, "read-model-behind", "a moment", headers={"Retry-After": "0"})
    later = problem(429, "too-many", "slower", headers={"Retry-After": "1"})
    api.on("GET /v1/tasks", busy, later, Say(200, {"items": [], "next_cursor": None}))
    assert list(client.tasks.list()) == []
    assert waits == [0.0, 1.0]


def test_retry_after_may_be_a_date(api: FakeApi, client: Client) -> None:
    date = format_datetime(clock.now() + timedelta(hours=2), usegmt=True)
    api.on(f"GET {TASK_PATH}", problem(503, "maintenance", "in two hours", headers={"Retry-After": date}))
    with pytest.raises(Unavailable) as caught:
        client.tasks.get(TASK_ID)
    assert caught.value.retry_after_seconds == pytest.approx(7200, abs=5)
    assert len(api.seen) == 1, "a pause this long is the caller's to decide on"


@pytest.mark.parametrize("status", [502, 503, 504, 429])
def test_the_api_may_recover_within_the_attempts(api: FakeApi, client: Client, status: int) -> None:
    api.on(f"GET {TASK_PATH}", problem(status, "busy", "busy", headers={"Retry-After": "0"}), Say(200, task()))
    assert client.tasks.get(TASK_ID).id == TASK_ID


def test_after_all_attempts_the_refusal_is_raised(api: FakeApi, client: Client) -> None:
    api.on(f"GET {TASK_PATH}", problem(503, "busy", "busy", headers={"Retry-After": "0"}))
    with pytest.raises(Unavailable):
        client.tasks.get(TASK_ID)
    assert len(api.seen) == 3


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, BadRequest), (401, Unauthorized), (403, Unauthorized), (404, NotFound), (422, BadRequest), (500, ApiError)],
)
def test_other_refusals_are_final(api: FakeApi, client: Client, status: int, kind: type[ApiError]) -> None:
    api.on(f"GET {TASK_PATH}", problem(status, "no", "no"))
    with pytest.raises(kind):
        client.tasks.get(TASK_ID)
    assert len(api.seen) == 1


def test_an_answer_that_is_not_a_problem_is_told_by_its_status(api: FakeApi, client: Client) -> None:
    api.on(f"GET {TASK_PATH}", Say(418, b"<html>teapot</html>", {"Content-Type": "text/html"}))
    with pytest.raises(ApiError) as caught:
        client.tasks.get(TASK_ID)
    assert (caught.value.status, caught.value.code) == (418, "http-418")


def test_an_answer_of_another_shape_is_told(api: FakeApi, client: Client) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, b"<html>a portal</html>"))
    with pytest.raises(DaybookError, match="TaskDetail"):
        client.tasks.get(TASK_ID)


def test_nobody_there_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", "t", attempts=1) as client, pytest.raises(Unreachable, match=str(port)):
        client.apps.list()


def test_retries_can_be_turned_off_for_all_of_stamina(api: FakeApi, client: Client) -> None:
    stamina.set_active(False)
    try:
        api.on(f"GET {TASK_PATH}", problem(503, "busy", "busy"), Say(200, task()))
        with pytest.raises(Unavailable):
            client.tasks.get(TASK_ID)
    finally:
        stamina.set_active(True)


def test_lists_carry_the_positions_of_this_clients_writes(api: FakeApi, client: Client) -> None:
    api.on(
        "POST /v1/tasks",
        Say(202, task(), {"Daybook-Position": "3:17"}),
        Say(202, task(), {"Daybook-Position": "3:12,5:20"}),
    )
    api.on("GET /v1/tasks", Say(200, {"items": [], "next_cursor": None}))
    assert list(client.tasks.list()) == []
    client.tasks.submit("hello")
    client.tasks.submit("hello")
    assert list(client.tasks.list()) == []
    before, after = api.asked("GET /v1/tasks")
    assert "daybook-position" not in before.headers
    assert after.headers["daybook-position"] == "3:17,5:20"


def test_the_token_does_not_follow_a_redirect(api: FakeApi, client: Client) -> None:
    api.on(f"GET {TASK_PATH}", Say(307, None, {"Location": f"{api.url}/elsewhere"}))
    with pytest.raises(DaybookError):
        client.tasks.get(TASK_ID)
    assert len(api.seen) == 1
