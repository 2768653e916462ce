"""`watch` and `run --watch`: plain lines, JSON lines, a bar on a terminal; cuts survived, Ctrl-C detaching."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest
from tests.cli.conftest import Daybook
from tests.client.fake_api import TASK_ID, TASK_PATH, FakeApi, Say, Stream, failed, frame, task, whole_stream

EVENTS = f"GET {TASK_PATH}/events"


def ready(api: FakeApi, ended: dict[str, object], *streams: Stream) -> None:
    api.on("POST /v1/tasks", Say(202, task()))
    api.on(EVENTS, *streams)
    api.on(f"GET {TASK_PATH}", Say(200, ended))
    api.on(f"GET {TASK_PATH}/result", Say(200, b'{"width":800}'))


def test_the_result_is_on_stdout_and_the_rest_on_stderr(api: FakeApi, daybook: Daybook) -> None:
    ready(api, task("success", 3), Stream(b"".join(whole_stream())))
    ran = daybook("run", "images.resize", "--watch")
    assert (ran.code, ran.out) == (0, '{"width":800}\n')
    assert ran.err.splitlines() == [
        f"{TASK_ID} images.resize queued",
        "running attempt 1",
        "progress 30/100 30% resizing",
        "info    part n=1",
        "once upon",
        "a time",
        "success",
        f"{TASK_ID} success after 3.2s",
    ]


def test_jsonl_prints_each_event(api: FakeApi, daybook: Daybook) -> None:
    ready(api, task("success", 3), Stream(b"".join(whole_stream())))
    ran = daybook("task", "watch", TASK_ID, "-o", "jsonl")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["event"] for line in lines][::7] == ["snapshot", "end"]
    assert lines[2] == {"event": "progress", "id": "2.1.1", "data": lines[2]["data"]}


def test_json_prints_the_task_as_it_ended(api: FakeApi, daybook: Daybook) -> None:
    ready(api, task("success", 3), Stream(b"".join(whole_stream())))
    assert json.loads(daybook("task", "watch", TASK_ID, "-o", "json").out) == task("success", 3)


def test_a_cut_is_told_and_survived(api: FakeApi, daybook: Daybook) -> None:
    frames = whole_stream()
    ready(api, task("success", 3), Stream(b"".join(frames[:3]), "cut"), Stream(b"".join(frames[3:])))
    ran = daybook("task", "watch", TASK_ID)
    assert ran.code == 0
    assert "reconnecting" in ran.err
    assert ran.err.index("30%") < ran.err.index("reconnecting") < ran.err.index("part n=1")
    assert api.asked(EVENTS)[1].headers["last-event-id"] == "2.1.1"


@pytest.mark.parametrize(("ended", "code", "words"), [(failed(), 1, "Traceback …"), (task("cancelled", 3), 3, "cancelled")])
def test_another_end_has_its_exit_code(api: FakeApi, daybook: Daybook, ended: dict[str, object], code: int, words: str) -> None:
    ready(api, ended, Stream(whole_stream()[0] + frame("end", {"status": ended["status"]}, "3.0.0")))
    ran = daybook("task", "watch", TASK_ID)
    assert (ran.code, ran.out) == (code, "")
    assert words in ran.err


def test_what_a_task_writes_does_not_drive_the_terminal(api: FakeApi, daybook: Daybook) -> None:
    log = frame("log", {"level": "info", "message": "\x1b]0;title\x07", "fields": {}}, "2.1.1")
    chunk = frame("chunk", {"text": "\x1b[2J"}, "2.1.2")
    ready(api, task("success", 3), Stream(whole_stream()[0] + log + chunk + whole_stream()[-1]))
    assert "\x1b" not in daybook("task", "watch", TASK_ID).err


def test_ctrl_c_detaches_and_says_how_to_come_back(api: FakeApi) -> None:
    ready(api, task("running", 2), Stream(b"".join(whole_stream()[:4]), "open"))
    command = [sys.executable, "-m", "daybook", "task", "watch", TASK_ID]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stderr is not None
        while "30%" not in watching.stderr.readline():
            assert watching.poll() is None
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=10)
    assert (watching.returncode, out) == (130, "")
    assert f"daybook task watch {TASK_ID}" in err
    assert "Traceback" not in err
    assert not api.asked(f"POST {TASK_PATH}/cancel")


def test_on_a_terminal_there_is_a_bar(api: FakeApi) -> None:
    ready(api, task("success", 3), Stream(b"".join(whole_stream())))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "daybook", "task", "watch", TASK_ID]
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=environment) as watching:
        os.close(theirs)
        drawn = b""
        try:
            while piece := os.read(ours, 65536):
                drawn += piece
        except OSError:
            pass  # Linux says so when the other side has closed the terminal
        assert watching.stdout is not None
        assert watching.stdout.read() == b'{"width":800}\n'
    os.close(ours)
    assert watching.returncode == 0
    for words in ("━", "30%", "resizing", "part n=1", "once upon", "a time"):
        assert words in drawn.decode(), words
