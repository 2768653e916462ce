"""Watching a task over a connection that breaks: every event once, in order, and an end."""

from time import monotonic

import pytest
from tests.client.fake_api import TASK_ID, TASK_PATH, Drop, FakeApi, Say, Stream, frame, problem, progress, whole_stream

from daybook.client import Client, NotFound, Unreachable

EVENTS = f"GET {TASK_PATH}/events"
ALL = ["snapshot", "task.running", "progress", "log", "chunk", "chunk", "task.success", "end"]


def test_a_whole_stream_is_seen_from_snapshot_to_end(api: FakeApi, client: Client) -> None:
    api.on(EVENTS, Stream(b"".join(whole_stream())))
    events = list(client.tasks.watch(TASK_ID))
    assert [event.type for event in events] == ALL
    assert events[2].data["percent"] == 30.0
    assert events[2].id == "2.1.1"
    (seen,) = api.seen
    assert seen.headers["accept"] == "text/event-stream"
    assert "last-event-id" not in seen.headers


def test_a_cut_stream_is_resumed_after_the_last_whole_event(api: FakeApi, client: Client) -> None:
    frames = whole_stream()
    half = frames[3][: len(frames[3]) // 2]
    api.on(EVENTS, Stream(b"".join(frames[:3]) + half, "cut"), Stream(b"".join(frames[3:])))
    events = list(client.tasks.watch(TASK_ID))
    assert [event.type for event in events] == [*ALL[:3], "reconnecting", *ALL[3:]]
    assert [seen.headers.get("last-event-id") for seen in api.seen] == [None, "2.1.1"]


def test_wherever_the_cut_is_nothing_is_lost_or_doubled(api: FakeApi, client: Client) -> None:
    frames = whole_stream()
    ids = ["1.0.0", "2.1.0", "2.1.1", "2.1.1", "2.1.2", "2.1.3", "2.1.4", "3.1.4"]
    stream = b"".join(frames)
    for offset in range(len(frames[0]), len(stream), 11):
        whole = next(n for n in range(len(frames)) if len(b"".join(frames[: n + 1])) > offset)
        api.on(EVENTS, Stream(stream[:offset], "cut"), Stream(b"".join(frames[whole:])))
        seen = len(api.seen)
        types = [event.type for event in client.tasks.watch(TASK_ID) if event.type != "reconnecting"]
        assert types == ALL, f"cut at byte {offset}"
        assert api.seen[seen + 1].headers["last-event-id"] == ids[whole - 1], f"cut at byte {offset}"


def test_a_stream_closed_in_good_order_before_the_end_is_resumed_too(api: FakeApi, client: Client) -> None:
    frames = whole_stream()
    api.on(EVENTS, Stream(b"".join(frames[:3])), Stream(b"".join(frames[3:])))
    assert [event.type for event in client.tasks.watch(TASK_ID)] == [*ALL[:3], "reconnecting", *ALL[3:]]


def test_a_resume_outlives_a_restart_of_the_api(api: FakeApi, client: Client) -> None:
    frames = whole_stream()
    away = problem(503, "starting", "a moment", headers={"Retry-After": "0"})
    api.on(EVENTS, Stream(b"".join(frames[:3]), "cut"), Drop(), away, Stream(b"".join(frames[3:])))
    assert [event.type for event in client.tasks.watch(TASK_ID)][-1] == "end"
    assert [seen.headers.get("last-event-id") for seen in api.seen] == [None, "2.1.1", "2.1.1", "2.1.1"]


def test_204_means_that_everything_has_been_seen(api: FakeApi, client: Client) -> None:
    frames = whole_stream()
    api.on(EVENTS, Stream(b"".join(frames[:-1]), "cut"), Say(204))
    assert [event.type for event in client.tasks.watch(TASK_ID)] == [*ALL[:-1], "reconnecting"]


def test_frames_that_carry_nothing_are_not_shown(api: FakeApi, client: Client) -> None:
    frames = [b"retry: 20\r\n\r\n", b": a comment\r\n\r\n", *whole_stream()]
    api.on(EVENTS, Stream(b"".join(frames)))
    assert [event.type for event in client.tasks.watch(TASK_ID)] == ALL


def test_a_stream_that_dies_at_birth_is_not_asked_for_in_a_hot_loop(api: FakeApi, client: Client) -> None:
    snapshot = frame("snapshot", {"task": {}}, "1.0.0", retry=300)
    api.on(EVENTS, Stream(snapshot), Stream(b"".join(whole_stream())))
    watching = client.tasks.watch(TASK_ID)
    assert [next(watching).type, next(watching).type] == ["snapshot", "reconnecting"]
    asked_again = monotonic()
    assert [event.type for event in watching] == ALL
    assert monotonic() - asked_again >= 0.3


def test_an_unknown_task_cannot_be_watched(client: Client) -> None:
    with pytest.raises(NotFound):
        next(client.tasks.watch(TASK_ID))


def test_an_api_that_never_answered_is_not_waited_for(api: FakeApi, client: Client) -> None:
    api.on(EVENTS, Drop())
    with pytest.raises(Unreachable):
        next(client.tasks.watch(TASK_ID))
    assert len(api.seen) == 3


def test_a_watch_that_is_left_closes_its_connection(api: FakeApi, client: Client) -> None:
    api.on(EVENTS, Stream(b"".join(whole_stream()[:2]), "open"))
    for event in client.tasks.watch(TASK_ID):
        if event.type == "task.running":
            break
    assert api.left.wait(5)


def test_a_watch_may_begin_where_another_one_stopped(api: FakeApi, client: Client) -> None:
    api.on(EVENTS, Stream(frame("progress", progress(99, "last"), "2.1.9") + whole_stream()[-1]))
    assert [event.type for event in client.tasks.watch(TASK_ID, last_event_id="2.1.8")] == ["progress", "end"]
    assert api.seen[0].headers["last-event-id"] == "2.1.8"
