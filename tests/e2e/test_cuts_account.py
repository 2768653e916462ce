"""The watchers of `test_cuts` and their accounts against a server that is a list of frames: a sound one satisfies them
through any number of cuts, and each way of being unsound is noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any, TypeAlias

import msgspec
import pytest
from tests.e2e.cuts.account import Account, Fact, Stored
from tests.e2e.cuts.apps import script
from tests.e2e.cuts.watchers import Watcher
from tests.e2e.cuts.wire import Answer

from daybook.testing.proxy import Proxy

Told: TypeAlias = list[tuple[str, str, Any]]
Harm: TypeAlias = Callable[[Told], Told]
CHUNKS = 120
KINDS = ("task.submitted.v1", "task.started.v1", "task.lost.v1", "task.started.v1", "task.succeeded.v1")
STATUS = ("queued", "running", "queued", "running", "success")
SCRIPTS = {1: script("unit", 1, CHUNKS), 2: script("unit", 2, CHUNKS)}
LOST = 70
"""How many words of the first attempt were told; ten less were stored."""
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


def story() -> Told:
    """Everything that is told of a task whose first runner was lost, each with the id it has."""
    told: Told = []
    place = (0, 0)
    for version, (kind, status) in enumerate(zip(KINDS, STATUS, strict=True), 1):
        attempt = (version + 1) // 2 if version < 4 else 2
        if version > 1:
            fact = {"version": version, "kind": kind, "data": {"attempt": attempt - (version == 3)}, "status": status}
            told.append((f"{version}.{place[0]}.{place[1]}", f"task.{status}", fact))
        if kind == "task.started.v1":
            attempt = version // 2
            for number, line in enumerate(SCRIPTS[attempt][: LOST if attempt == 1 else None], 1):
                place = attempt, number
                text = {"text" if line.type == "chunk" else "message": line.text}
                told.append((f"{version}.{attempt}.{number}", line.type, {"attempt": attempt, "n": number, **text}))
    told.append(("end", "end", {"status": "success"}))
    return told


def stored() -> Stored:
    """What is kept of it."""
    words = {1: SCRIPTS[1][: LOST - 10], 2: SCRIPTS[2]}
    text = {attempt: "".join(line.text for line in lines if line.type == "chunk").encode() for attempt, lines in words.items()}
    return Stored([Fact(version, kind) for version, kind in enumerate(KINDS, 1)], words, text, {1: "lost", 2: "success"})


@asynccontextmanager
async def serving(told: Told, resumes: Callable[[int], int] = lambda place: place) -> AsyncIterator[int]:
    """A server that tells this, from the place behind an id on; `resumes` may make it another place."""
    chance = Random(1)
    ids = [id_ for id_, _, _ in told]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        _, resuming, last = head.partition("Last-Event-ID: ")
        id_ = last.partition("\r\n")[0]
        place = resumes(ids.index(id_) + 1) if resuming and id_ in ids else 0
        if resuming and place >= len(told):
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        else:
            version = int(id_.partition(".")[0] or 1) if id_ != "end" else len(KINDS)
            snapshot = (id_ or "1.0.0", "snapshot", {"task": {"version": version, "attempt": 0}})
            body = b"retry: 1500\n" + b"".join(map(_frame, [snapshot, *told[place:]]))
            writer.write(HEAD)
            while body:
                size = chance.randrange(1, 500)
                writer.write(b"%x\r\n%b\r\n" % (len(body[:size]), body[:size]))
                body = body[size:]
            writer.write(b"0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, Proxy("127.0.0.1", server.sockets[0].getsockname()[1]) as proxy:
        lifetimes = Random(2)
        proxy.cut_each_after(lambda: int(lifetimes.expovariate(1 / 1500)) + 1)
        yield proxy.port


async def watch(port: int) -> Account:
    """Watch to the end, and hold it against what is kept."""
    watcher = Watcher("tsk_1", "token", [port], Random(3), longest_pause_seconds=0)
    async with asyncio.timeout(10):
        await watcher.run()
    assert watcher.cuts["cut"] > 5
    watcher.account.settle(stored(), SCRIPTS)
    return watcher.account


async def test_through_all_cuts_everything_is_told_once() -> None:
    async with serving(story()) as port:
        account = await watch(port)
    assert (account.ended, account.gaps, account.said) == ("success", [], LOST + len(SCRIPTS[2]))


def _without(index: int) -> Harm:
    return lambda told: told[:index] + told[index + 1 :]


def _twice(index: int) -> Harm:
    return lambda told: told[: index + 1] + told[index:]


def _swapped(index: int) -> Harm:
    return lambda told: [*told[:index], told[index + 1], told[index], *told[index + 2 :]]


def _gap(index: int, missing: int) -> Harm:
    def harmed(told: Told) -> Told:
        _, _, first = told[index]
        gap = ("", "gap", {"attempt": first["attempt"], "from": first["n"], "to": first["n"] + missing - 1})
        return [*told[:index], gap, *told[index + missing :]]

    return harmed


def _other_text(told: Told) -> Told:
    return [*told[:150], (told[150][0], told[150][1], {**told[150][2], "text": "another", "message": "another"}), *told[151:]]


AN_END = len(story()) - 1
A_LOSS = 1 + LOST
HARMS: dict[str, Harm] = {
    "a word is left out": _without(150),
    "the first word is left out": _without(1),
    "the last word of an attempt is left out": _without(AN_END - 2),
    "a word is told twice": _twice(150),
    "words are swapped": _swapped(150),
    "a word is another": _other_text,
    "a version is left out": _without(A_LOSS),
    "a version is told twice": _twice(A_LOSS),
    "a word comes after the loss of its attempt": _swapped(A_LOSS - 1),
    "a word comes before its attempt has begun": _swapped(A_LOSS + 1),
    "the end is told twice": _twice(AN_END),
    "a fact comes after the end": _swapped(AN_END - 1),
    "a gap where words are stored": _gap(150, 3),
}


@pytest.mark.parametrize("harm", HARMS)
async def test_what_is_unsound_is_noticed(harm: str) -> None:
    async with serving(HARMS[harm](story())) as port:
        with pytest.raises(AssertionError, match="tsk_1: "):
            await watch(port)


@pytest.mark.parametrize("off_by", [-1, 1])
async def test_a_server_that_resumes_elsewhere_is_noticed(off_by: int) -> None:
    async with serving(story(), lambda place: place + off_by) as port:
        with pytest.raises(AssertionError, match="tsk_1: "):
            await watch(port)


async def test_a_gap_is_granted_where_nothing_is_stored() -> None:
    async with serving(_gap(LOST - 5, 3)(story())) as port:
        assert (await watch(port)).gaps == [(1, LOST - 5, LOST - 3)]


def test_only_whole_frames_count_wherever_the_bytes_end() -> None:
    frames = [("1.0.0", "snapshot", {"task": {}}), ("1.1.1", "chunk", {"text": "ß\n\n🦆"}), ("1.1.2", "chunk", {"text": ""})]
    raw, ends = HEAD, []
    for frame in frames:
        body = _frame(frame)
        raw += b"3\r\n%b\r\n%x\r\n%b" % (body[:3], len(body) - 3, body[3:])
        ends.append(len(raw))
        raw += b"\r\n"
    for cut in range(len(raw) + 1):
        answer = Answer("")
        for start in range(0, cut, 7):
            answer.feed(raw[start : min(start + 7, cut)])
        whole = sum(end <= cut for end in ends)
        assert [msgspec.json.decode(each.data) for each in answer.frames] == [data for _, _, data in frames[:whole]]
        assert answer.last_id == (frames[whole - 1][0] if whole else "")
        assert not answer.is_whole


def _frame(told: tuple[str, str, Any]) -> bytes:
    id_, event, data = told
    name = f"id: {id_}\n" if id_ else ""
    return f"{name}event: {event}\n".encode() + b"data: " + msgspec.json.encode(data) + b"\n\n"
