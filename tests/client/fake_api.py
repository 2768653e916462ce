"""An HTTP server on a real socket that says what a test tells it to, badly if wanted: it can drop a connection, or cut a stream at any byte.

It runs on a thread of its own, so that the blocking client can be tested as it is used. It knows the shapes of the API and none of its rules.
"""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit

TASK_ID = "tsk_01kbr5vc2ze8trbz1mgbpz5yqd"
TASK_PATH = f"/v1/tasks/{TASK_ID}"
SCHEDULE_ID = "sch_01kbr5vc2ze8trbz1mgbpz5yqd"
SCHEDULE_PATH = f"/v1/schedules/{SCHEDULE_ID}"
AT = "2026-11-20T10:00:00.000000Z"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Say:
    """Answer with this."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stream:
    """Answer with these bytes of an event stream, then close it in good order, cut it, or keep it open until the server stops."""

    data: bytes
    then: str = "close"


@dataclass(frozen=True)
class Drop:
    """Read the request and hang up."""


Answer: TypeAlias = Say | Stream | Drop


class FakeApi:
    """Answers as scripted by `on`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.url = ""
        self.left = threading.Event()
        """Set when a client hung up on an open stream."""
        self._script: dict[str, list[Answer]] = {}
        self._stopping = asyncio.Event()

    def on(self, what: str, *answers: Answer) -> None:
        """`what` is `METHOD /path`; each request to it gets the next answer, and the last one answers for ever."""
        self._script[what] = list(answers)

    def asked(self, what: str) -> list[Seen]:
        """The requests of that method and path, in order."""
        return [each for each in self.seen if f"{each.method} {each.path}" == what]

    async def serve(self, started: threading.Event) -> None:
        """Serve until `stop`."""
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        self.url = f"http://{host}:{port}"
        started.set()
        async with server:
            await self._stopping.wait()

    def stop(self) -> None:
        """End `serve`; to be called on its loop."""
        self._stopping.set()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            seen = await _read(reader)
            self.seen.append(seen)
            answers = self._script.get(f"{seen.method} {seen.path}")
            if answers is None:
                answer: Answer = problem(404, "not-found", "there is no such thing")
            else:
                answer = answers.pop(0) if len(answers) > 1 else answers[0]
            await self._give(answer, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left, which is its right
        finally:
            writer.close()

    async def _give(self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match answer:
            case Drop():
                writer.transport.abort()
            case Say(status, body, headers):
                content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
                _head(writer, status, {"Content-Type": "application/json", **headers, "Content-Length": str(len(content))})
                writer.write(content)
                await writer.drain()
            case Stream(data, then):
                _head(writer, 200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})
                if data:
                    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
                await writer.drain()
                if then == "close":
                    writer.write(b"0\r\n\r\n")
                    await writer.drain()
                elif then == "open":
                    await self._until_left(reader)

    async def _until_left(self, reader: asyncio.StreamReader) -> None:
        ends = {asyncio.ensure_future(reader.read()), asyncio.ensure_future(self._stopping.wait())}
        _, pending = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for each in pending:
            each.cancel()
        self.left.set()


@contextmanager
def running() -> Iterator[FakeApi]:
    """A fake API on a free port, on its own thread."""
    loop = asyncio.new_event_loop()
    api, started = FakeApi(), threading.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(api.serve(started),))
    thread.start()
    started.wait(5)
    try:
        yield api
    finally:
        loop.call_soon_threadsafe(api.stop)
        thread.join(5)
        loop.close()


def task(status: str = "queued", version: int = 1, **changes: Any) -> dict[str, Any]:
    """A task in the shape of the API."""
    running = status not in {"queued", "scheduled"}
    ended = status in {"success", "error", "cancelled"}
    return {
        "id": TASK_ID,
        "app": "images.resize",
        "app_version": "sha256-1f",
        "status": status,
        "reason": None,
        "owner": "ana",
        "queue": "default",
        "priority": 3,
        "labels": {"customer": "42"},
        "attempt": int(running),
        "run_at": None,
        "submitted_at": AT,
        "started_at": AT if running else None,
        "finished_at": "2026-11-20T10:00:03.200000Z" if ended else None,
        "error_type": None,
        "version": version,
        "input": {"url": "https://example.org/cat.png"},
        "attempts": [],
        "result": {"media_type": "application/json", "size_bytes": 9, "href": f"{TASK_PATH}/result"} if status == "success" else None,
        "error": None,
        "progress": None,
        "links": {"self": TASK_PATH},
        "a_field_of_a_later_release": True,
    } | changes


def failed() -> dict[str, Any]:
    """A task that ended in error."""
    error = {"type": "ValueError", "message": "too large", "traceback": "Traceback …\nValueError: too large"}
    return task("error", 3, error=error, error_type="ValueError")


def schedule(version: int = 1, **changes: Any) -> dict[str, Any]:
    """A schedule in the shape of the API."""
    return {
        "id": SCHEDULE_ID,
        "app": "images.resize",
        "app_version": "sha256-1f",
        "input": {"url": "https://example.org/cat.png"},
        "cron": "0 9 * * mon-fri",
        "timezone": "Europe/Berlin",
        "seconds": False,
        "overlap": "skip",
        "catch_up": "latest",
        "catch_up_window_seconds": 3600.0,
        "jitter_seconds": 0.0,
        "dst_gap": "next",
        "dst_fold": "once",
        "start_at": None,
        "end_at": None,
        "max_runs": None,
        "pause_after_errors": None,
        "queue": "default",
        "priority": 3,
        "labels": {"customer": "42"},
        "paused": False,
        "paused_until": None,
        "paused_by": None,
        "note": None,
        "owner": "ana",
        "version": version,
        "created_at": AT,
        "words": "At 09:00 AM, Monday through Friday",
        "next": ["2026-11-23T08:00:00Z", "2026-11-24T08:00:00Z"],
        "last": {"slot": "2026-11-20T08:00:00Z", "task": TASK_ID, "fired_at": "2026-11-20T08:00:00.012000Z"},
        "runs": 12,
        "counts": {"fired": 12, "overlap": 3, "missed": 0, "paused": 0, "ended": 0, "limit": 0, "changed": 0},
        "a_field_of_a_later_release": True,
    } | changes


def slot(**changes: Any) -> dict[str, Any]:
    """A line of the ledger in the shape of the API."""
    return {
        "slot": "2026-11-20T08:00:00Z",
        "last": "2026-11-20T08:00:00Z",
        "count": 1,
        "outcome": "fired",
        "reason": "slot",
        "task": TASK_ID,
        "due_at": "2026-11-20T08:00:00Z",
        "decided_at": "2026-11-20T08:00:00.012000Z",
        "lateness_ms": 12.3,
    } | changes


def problem(status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **members: Any) -> Say:
    """A refusal as the API words it."""
    body = {"type": f"/problems/{code}", "title": code, "status": status, "detail": detail, "code": code} | members
    return Say(status, body, {"Content-Type": "application/problem+json", **(headers or {})})


def frame(event: str, data: dict[str, Any], event_id: str = "", *, retry: int | None = None) -> bytes:
    """One server-sent event."""
    lines = [f"id: {event_id}"] if event_id else []
    lines += [f"retry: {retry}"] if retry is not None else []
    return "\r\n".join([*lines, f"event: {event}", f"data: {json.dumps(data)}", "", ""]).encode()


def whole_stream() -> list[bytes]:
    """The frames of a task that runs, reports, and ends well. The first tells the reader to come back fast."""
    return [
        frame("snapshot", {"task": task()}, "1.0.0", retry=5),
        frame("task.running", {"version": 2, "at": AT, "data": {"attempt": 1}, "status": "running"}, "2.1.0"),
        frame("progress", progress(30, "resizing"), "2.1.1"),
        frame("heartbeat", {}),
        frame("log", {"attempt": 1, "n": 2, "at": AT, "level": "info", "message": "part", "fields": {"n": 1}}, "2.1.2"),
        frame("chunk", {"attempt": 1, "n": 3, "at": AT, "text": "once upon\na ti"}, "2.1.3"),
        frame("chunk", {"attempt": 1, "n": 4, "at": AT, "text": "me"}, "2.1.4"),
        frame("task.success", {"version": 3, "at": AT, "data": {"attempt": 1}, "status": "success"}, "3.1.4"),
        frame("end", {"status": "success", "result": f"{TASK_PATH}/result"}, "3.1.4"),
    ]


def progress(current: int, message: str) -> dict[str, Any]:
    """What a progress event carries."""
    return {
        "attempt": 1,
        "n": 1,
        "at": AT,
        "current": current,
        "total": 100,
        "percent": float(current),
        "message": message,
    }


async def _read(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    url = urlsplit(target)
    return Seen(method=method, path=url.path, query=parse_qsl(url.query), headers=headers, body=body)


def _head(writer: asyncio.StreamWriter, status: int, headers: dict[str, str]) -> None:
    lines = [f"HTTP/1.1 {status} X", "Connection: close", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode())
