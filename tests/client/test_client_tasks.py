"""What the blocking client asks, and what it makes of the answers."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from tests.client.fake_api import AT, TASK_ID, TASK_PATH, FakeApi, Say, failed, problem, task

from daybook import Retry
from daybook.client import Client, Conflict, Task, TaskCancelled, TaskDetail, TaskError, WaitTimedOut
from daybook.domain.status import Status


def test_submit_sends_what_was_given_and_answers_with_the_task(api: FakeApi, client: Client) -> None:
    api.on("POST /v1/tasks", Say(202, task()))
    submitted = client.tasks.submit("images.resize", {"url": "x"}, delay=timedelta(minutes=10), labels={"customer": "42"}, priority=2, timeout="5m")
    assert (submitted.id, submitted.status, submitted.view.labels) == (TASK_ID, Status.QUEUED, {"customer": "42"})
    (seen,) = api.asked("POST /v1/tasks")
    assert seen.json == {
        "app": "images.resize",
        "input": {"url": "x"},
        "delay": 600.0,
        "labels": {"customer": "42"},
        "priority": 2,
        "timeout": "5m",
    }
    assert seen.headers["authorization"] == "Bearer dbk_test"


def test_each_submit_has_a_key_of_its_own_unless_one_is_given(api: FakeApi, client: Client) -> None:
    api.on("POST /v1/tasks", Say(202, task()))
    client.tasks.submit("hello")
    client.tasks.submit("hello")
    client.tasks.submit("hello", key="order-7")
    first, second, third = (seen.headers["idempotency-key"] for seen in api.seen)
    assert first != second
    assert third == "order-7"


def test_the_input_may_be_a_struct_and_null_is_not_the_same_as_nothing(api: FakeApi, client: Client) -> None:
    class Picture(msgspec.Struct):
        url: str

    api.on("POST /v1/tasks", Say(202, task()))
    client.tasks.submit("a", Picture(url="x"))
    client.tasks.submit("a", None)
    client.tasks.submit("a")
    assert [seen.json for seen in api.seen] == [
        {"app": "a", "input": {"url": "x"}},
        {"app": "a", "input": None},
        {"app": "a"},
    ]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_hold_is_refused_before_anything_is_sent(api: FakeApi, client: Client, number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        client.tasks.submit("a", {"x": [number]})
    assert api.seen == []


def test_a_time_without_an_offset_is_refused(client: Client) -> None:
    with pytest.raises(ValueError, match="offset"):
        client.tasks.submit("a", run_at=datetime(2026, 12, 1))  # noqa: DTZ001 - that is the mistake


def test_result_waits_by_long_polls_and_decodes_json(api: FakeApi, client: Client) -> None:
    api.on("POST /v1/tasks", Say(202, task()))
    api.on(f"GET {TASK_PATH}", Say(200, task("running", 2)), Say(200, task("success", 3)))
    api.on(f"GET {TASK_PATH}/result", Say(200, {"width": 800}))
    assert client.tasks.submit("images.resize").result(timeout=60) == {"width": 800}
    first, second = api.asked(f"GET {TASK_PATH}")
    assert (first.headers["if-none-match"], first.headers["prefer"]) == ('"1"', "wait=30")
    assert second.headers["if-none-match"] == '"2"'


@pytest.mark.parametrize(
    ("media_type", "body", "expected"),
    [
        ("application/json; charset=utf-8", b"[1]", [1]),
        ("application/geo+json", b"{}", {}),
        ("text/plain", "grün".encode(), "grün"),
        ("image/png", b"\x89PNG", b"\x89PNG"),
    ],
)
def test_a_result_is_decoded_by_its_media_type(api: FakeApi, client: Client, media_type: str, body: bytes, expected: object) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, task("success", 3)))
    api.on(f"GET {TASK_PATH}/result", Say(200, body, {"Content-Type": media_type}))
    assert client.tasks.result(TASK_ID) == expected


def test_result_of_a_failed_task_raises_its_error(api: FakeApi, client: Client) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, failed()))
    with pytest.raises(TaskError, match="too large") as caught:
        client.tasks.result(TASK_ID)
    assert caught.value.type == "ValueError"
    assert caught.value.traceback is not None
    assert "Traceback" in caught.value.traceback


def test_result_of_a_cancelled_task_raises_with_the_reason(api: FakeApi, client: Client) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, task("cancelled", 2, reason="typo")))
    with pytest.raises(TaskCancelled) as caught:
        client.tasks.result(TASK_ID)
    assert caught.value.reason == "typo"


def test_waiting_ends_in_time(api: FakeApi, client: Client) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, task()), Say(304))
    with pytest.raises(TimeoutError) as caught:
        client.tasks.result(TASK_ID, timeout=0.05)
    assert isinstance(caught.value, WaitTimedOut)
    looked, polled = api.asked(f"GET {TASK_PATH}")
    assert "if-none-match" not in looked.headers
    assert "prefer" not in polled.headers


def test_a_poll_that_is_answered_at_once_does_not_become_a_hot_loop(api: FakeApi, client: Client) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, task()), Say(304))
    with pytest.raises(WaitTimedOut):
        client.tasks.wait(TASK_ID, timeout=1.2)
    assert len(api.seen) <= 5


def test_a_handle_keeps_the_newest_state(api: FakeApi, client: Client) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, task()), Say(200, task("running", 2)))
    api.on(f"POST {TASK_PATH}/cancel", Say(200, task("cancelled", 3, reason="typo")))
    handle = client.tasks.get(TASK_ID)
    assert handle.refresh().status == "running"
    assert handle.cancel(reason="typo") is handle
    assert (handle.status, handle.view.version) == (Status.CANCELLED, 3)
    assert api.seen[-1].json == {"reason": "typo"}


def test_reschedule_wants_one_of_its_two_times(api: FakeApi, client: Client) -> None:
    api.on(f"POST {TASK_PATH}/reschedule", Say(200, task("scheduled", 2, run_at=AT)))
    moved = client.tasks.reschedule(TASK_ID, run_at=datetime(2026, 12, 1, tzinfo=UTC))
    assert moved.status == "scheduled"
    assert api.seen[-1].json == {"run_at": "2026-12-01T00:00:00+00:00"}
    with pytest.raises(ValueError, match="either"):
        moved.reschedule()


def test_a_submit_says_how_it_is_to_be_tried(api: FakeApi, client: Client) -> None:
    api.on("POST /v1/tasks", Say(202, task()))
    client.tasks.submit("a", retry=Retry(max_attempts=3, non_retryable=("ValueError",)), queue_ttl="1h", deadline=timedelta(days=1))
    client.tasks.submit("a", retry={"max_attempts": 2, "backoff": timedelta(seconds=2)})
    whole = {"max_attempts": 3, "backoff": "1s", "max_backoff": "5m", "factor": 2.0, "non_retryable": ["ValueError"]}
    assert [seen.json for seen in api.seen] == [
        {"app": "a", "queue_ttl": "1h", "deadline": 86400.0, "retry": whole},
        {"app": "a", "retry": {"max_attempts": 2, "backoff": 2.0}},
    ]


def test_a_task_is_retried_and_run_now(api: FakeApi, client: Client) -> None:
    api.on(f"GET {TASK_PATH}", Say(200, failed()))
    api.on(f"POST {TASK_PATH}/retry", Say(200, task("queued", 4)))
    api.on(f"POST {TASK_PATH}/run-now", Say(200, task("queued", 5)))
    handle = client.tasks.get(TASK_ID)
    assert handle.retry(reason="again") is handle
    assert (handle.status, handle.view.version) == (Status.QUEUED, 4)
    assert handle.run_now().view.version == 5
    assert client.tasks.retry(TASK_ID).id == TASK_ID
    assert [seen.json for seen in api.seen[1:]] == [{"reason": "again"}, {}, {}]


def test_a_rerun_is_another_task(api: FakeApi, client: Client) -> None:
    new = TASK_ID[:-1] + "0"
    api.on(f"GET {TASK_PATH}", Say(200, failed()))
    api.on(f"POST {TASK_PATH}/rerun", Say(202, task(id=new, rerun_of=TASK_ID)))
    handle = client.tasks.get(TASK_ID)
    again = handle.rerun(input=None, priority=1)
    client.tasks.rerun(TASK_ID, labels={}, delay="1m", key="k")
    assert (again.id, handle.id, handle.status) == (new, TASK_ID, Status.ERROR)
    assert isinstance(again.view, TaskDetail)
    assert again.view.rerun_of == TASK_ID
    first, second = api.asked(f"POST {TASK_PATH}/rerun")
    assert [first.json, second.json] == [{"input": None, "priority": 1}, {"delay": "1m", "labels": {}}]
    assert first.headers["idempotency-key"] != second.headers["idempotency-key"] == "k"


def test_attempts_and_cancellations_are_read(api: FakeApi, client: Client) -> None:
    lost = {"attempt": 1, "runner": "run_1", "started_at": AT, "ended_at": AT, "outcome": "lost", "reason": "lost_runner", "error_type": "RunnerLost"}
    stopped = {"requested_by": "user:root", "requested_at": AT, "reason": "too dear"}
    api.on(f"GET {TASK_PATH}", Say(200, task("cancelled", 5, attempts=[lost], cancellation=stopped, losses=1)))
    view = client.tasks.get(TASK_ID).view
    assert isinstance(view, TaskDetail)
    assert (view.attempts[0].outcome, view.attempts[0].reason, view.losses) == ("lost", "lost_runner", 1)
    assert view.cancellation is not None
    assert (view.cancellation.requested_by, view.cancellation.reason) == ("user:root", "too dear")


def test_a_refusal_carries_its_problem(api: FakeApi, client: Client) -> None:
    refusal = problem(409, "already-started", "it runs", request_id="req_1", hint="cancel it")
    api.on(f"POST {TASK_PATH}/reschedule", refusal)
    with pytest.raises(Conflict) as caught:
        client.tasks.reschedule(TASK_ID, delay="10m")
    assert (caught.value.code, caught.value.status, caught.value.request_id) == ("already-started", 409, "req_1")
    assert caught.value.problem.hint == "cancel it"


def test_events_are_facts(api: FakeApi, client: Client) -> None:
    fact = {"id": "evt_1", "kind": "task.submitted.v1", "version": 1, "at": AT, "data": {"app": "a"}}
    api.on(f"GET {TASK_PATH}", Say(200, task()))
    api.on(f"GET {TASK_PATH}/events", Say(200, {"items": [fact]}))
    (event,) = client.tasks.get(TASK_ID).events()
    assert (event.kind, event.version, event.data) == ("task.submitted.v1", 1, {"app": "a"})


def test_a_list_walks_through_its_pages_and_only_as_far_as_it_is_read(api: FakeApi, client: Client) -> None:
    api.on(
        "GET /v1/tasks",
        Say(200, {"items": [task(), task("running", 2)], "next_cursor": "c1"}),
        Say(200, {"items": [task("success", 3)], "next_cursor": None}),
    )
    listed = client.tasks.list(status=["queued", "running"], label={"customer": "42"}, since=timedelta(hours=24))
    assert api.seen == []
    assert isinstance(next(listed), Task)
    assert len(api.seen) == 1
    assert [each.status for each in listed] == ["running", "success"]
    first, second = (seen.query for seen in api.seen)
    assert first == [("status", "queued,running"), ("since", "86400s"), ("label", "customer:42")]
    assert second == [*first, ("cursor", "c1")]


def test_a_limit_bounds_the_whole_list(api: FakeApi, client: Client) -> None:
    api.on("GET /v1/tasks", Say(200, {"items": [task(), task()], "next_cursor": "c1"}))
    assert len(list(client.tasks.list(limit=3))) == 3
    assert len(api.seen) == 2


def test_apps_are_listed_and_read(api: FakeApi, client: Client) -> None:
    app = {"app": "images.resize", "kind": "python", "version": "v", "input_schema": {"type": "object"}}
    api.on("GET /v1/apps", Say(200, {"items": [app]}))
    api.on("GET /v1/apps/images.resize", Say(200, app))
    assert [each.app for each in client.apps.list()] == ["images.resize"]
    assert client.apps.get("images.resize").input_schema == {"type": "object"}


def test_an_id_cannot_lead_to_another_path(api: FakeApi, client: Client) -> None:
    api.on("GET /v1/tasks/..%2Fapps", Say(200, task()))
    assert client.tasks.get("../apps").id == TASK_ID
