"""What a task has said, by attempt: its log lines and its whole output, while it runs and ever after. Each answer is
bounded, and says from where to go on."""

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlencode

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from daybook.stored_output import LEVELS, Place, Word, plain_text

from ..endpoints import JSON, LINES, TEXT
from ..gateway import Gateway, answer
from ..requests import HttpRequest, accepts, query, refused
from ..schemas import LogLine, LogList
from ..watching.said import Said

_LOGS: Final = frozenset({"attempt", "tail", "after", "level"})
_OUTPUT: Final = frozenset({"attempt", "from"})
_MOST_LINES: Final = 1_000
_MOST_BYTES: Final = 1024 * 1024
_MOST_LOOKED_AT_BYTES: Final = 8 * 1024 * 1024
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,8}")
_PLACE: Final = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")
_LINE: Final = msgspec.json.Decoder(LogLine)
_SAFE: Final = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}


class _Chunk(msgspec.Struct):
    text: str = ""


_CHUNK: Final = msgspec.json.Decoder(_Chunk)


@get("/tasks/{task_id:str}/logs", operation_id="getLogs", tags=["tasks"])
async def logs_route(request: HttpRequest, gateway: NamedDependency[Gateway], task_id: FromPath[str]) -> Response[bytes]:
    """The log lines of a task: what its attempts logged, printed and warned of, oldest first.

    `next_after` says from where to go on; it is null when the task has ended and all was told."""
    who = await gateway.access.authenticate(request, "read")
    given = {name: values[0] for name, values in query(request, _LOGS).items()}
    attempt, tail = _number("attempt", given), _number("tail", given)
    after, level = _place("after", given), given.get("level", LEVELS[0])
    if level not in LEVELS:
        raise refused("level", f"does not know {level!r}", hint=f"The levels are {', '.join(LEVELS)}; each includes the later ones.")
    if tail is not None and tail > _MOST_LINES:
        raise refused("tail", f"is a number from 1 to {_MOST_LINES}")
    said = Said(gateway, task_id, await gateway.find(task_id, who), attempt)
    wanted = frozenset(LEVELS[LEVELS.index(level) :])
    if tail is None:
        lines, last, more = await _lines_after(said, after, wanted)
    else:
        words, last = await said.last(tail, after, lambda word: _line(word, wanted) is not None)
        lines, more = [line for word in words if (line := _line(word, wanted)) is not None], False
    return answer(LogList(items=lines, next_after=_spelled(last) if more or said.goes_on else None))


@get("/tasks/{task_id:str}/output", operation_id="getOutput", tags=["tasks"])
async def output_route(request: HttpRequest, gateway: NamedDependency[Gateway], task_id: FromPath[str]) -> Response[bytes]:
    """Everything a task has said: progress, log lines, chunks and actions, as they were told live.

    As JSON, as JSON lines (`application/x-ndjson`), or, as `text/plain`, the chunks of one attempt (the latest unless said) put together.
    `next_from`, and `Link` with rel="next" in every form, says from where to go on; there is none when the task has ended and all was told."""
    who = await gateway.access.authenticate(request, "read")
    given = {name: values[0] for name, values in query(request, _OUTPUT).items()}
    attempt, start = _number("attempt", given), _place("from", given)
    found = await gateway.find(task_id, who)
    as_text = accepts(request, TEXT)
    if as_text and attempt is None:
        attempt = max(found.task.attempt, 1)
        given["attempt"] = str(attempt)
    said = Said(gateway, task_id, found, attempt)
    # From a place on is after the one before it.
    last, size, more = Place(start.attempt, max(start.number - 1, 0)), 0, False
    words: list[Word] = []
    async for word in said.after(last):
        if size >= (_MOST_LOOKED_AT_BYTES if as_text else _MOST_BYTES):
            more = True
            break
        words.append(word)
        size += len(word.data)
        last = word.place
    following = _spelled(Place(last.attempt, last.number + 1)) if more or said.goes_on else None
    headers = dict(_SAFE)
    if following is not None:
        kept = [(name, value) for name, value in given.items() if name != "from"]
        headers["Link"] = f'<{request.url.path}?{urlencode([*kept, ("from", following)])}>; rel="next"'
    return _shown(request, words, following, headers)


def _shown(request: HttpRequest, words: list[Word], following: str | None, headers: dict[str, str]) -> Response[bytes]:
    if accepts(request, TEXT):
        text = "".join(_CHUNK.decode(word.data).text for word in words if word.type == "chunk")
        return Response(plain_text(text).encode(), media_type=TEXT, headers=headers)
    if accepts(request, LINES):
        return Response(b"".join(word.data + b"\n" for word in words), media_type=LINES, headers=headers)
    body = b'{"items":[' + b",".join(word.data for word in words) + b'],"next_from":' + msgspec.json.encode(following) + b"}"
    return Response(body, media_type=JSON, headers=headers)


async def _lines_after(said: Said, place: Place, wanted: Iterable[str]) -> tuple[list[LogLine], Place, bool]:
    """The next lines, the last place that was looked at, and whether there may be more."""
    lines: list[LogLine] = []
    size = looked_at = 0
    async for word in said.after(place, only_logs=True):
        if len(lines) >= _MOST_LINES or size >= _MOST_BYTES or looked_at >= _MOST_LOOKED_AT_BYTES:
            return lines, place, True
        line = _line(word, wanted)
        if line is not None:
            lines.append(line)
            size += len(word.data)
        looked_at += len(word.data)
        place = word.place
    return lines, place, False


def _line(word: Word, wanted: Iterable[str]) -> LogLine | None:
    """The log line that a word is; None for another word, one of another level, and one that no runner of ours said."""
    if word.type != "log":
        return None
    try:
        line = _LINE.decode(word.data)
    except msgspec.DecodeError:
        return None
    return line if line.level in wanted else None


def _number(name: str, given: dict[str, str]) -> int | None:
    if name not in given:
        return None
    if _NUMBER.fullmatch(given[name]) is None:
        raise refused(name, "is a number from 1 on")
    return int(given[name])


def _place(name: str, given: dict[str, str]) -> Place:
    if name not in given:
        return Place()
    parts = _PLACE.fullmatch(given[name])
    if parts is None:
        raise refused(name, "is attempt.number, such as 1.42")
    return Place(int(parts[1]), int(parts[2]))


def _spelled(place: Place) -> str:
    return f"{place.attempt}.{place.number}"
