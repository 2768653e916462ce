"""Words between people and the API: arguments into values, instants and sizes into words. Pure, but for the files that
arguments name."""

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from daybook.durations import parse_duration

from .exits import Complaint

_PAIR: Final = re.compile(r"(.+?)(:=|=)(.*)", re.DOTALL)
_CONTROL: Final = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}


def parse_input(words: Sequence[str]) -> Any:
    """The input that the words spell: `k=v` is text, `k:=json` is JSON, `@file.json` and `-` are whole documents. In
    `k=@file` and `k:=@file` the file holds the text or the JSON.

    Several words make one object, later ones winning; a document alone may be any JSON value. No words: UNSET.
    """
    if not words:
        return msgspec.UNSET
    if len(words) == 1 and words[0].startswith("@"):
        return _document(words[0])
    made: dict[str, Any] = {}
    for word in words:
        made.update(_members(word))
    return made


def edited_input(words: Sequence[str], before: Callable[[], Any]) -> Any:
    """The input `before`, with what the words spell in the place of what it had; a document alone stands for all of it."""
    if len(words) == 1 and words[0].startswith("@"):
        return _document(words[0])
    changes = parse_input(words)
    old = before()
    if not isinstance(old, dict):
        raise Complaint("its input is no JSON object that could be changed in parts", hint="give all of it: --input @file.json, or --input - for stdin")
    return {**old, **changes}


def parse_labels(words: Iterable[str]) -> dict[str, str]:
    """Labels from `name=value` or `name:value`."""
    labels = {}
    for word in words:
        name, separator, value = re.match(r"([^=:]*)([=:]?)(.*)", word, re.DOTALL).groups()  # type: ignore[union-attr]
        if not name or not separator:
            raise Complaint(f"{word!r} is not a label: write name=value")
        labels[name] = value
    return labels


def parse_instant(text: str) -> datetime:
    """An instant in ISO 8601; without an offset it is meant in this machine's time zone."""
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Complaint(f"{text!r} is not a time: write 2026-12-01T09:00 or 2026-12-01T09:00:00Z") from None
    return at if at.tzinfo else at.astimezone()


def parse_bound(text: str) -> datetime | timedelta:
    """A duration from now (`24h`), or an instant; the API knows which way, and by its own clock."""
    try:
        return parse_duration(text)
    except ValueError:
        return parse_instant(text)


def parse_span(text: str) -> timedelta:
    """A duration: `45s`, `10m`, `1h30m`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise Complaint(str(error)) from None


def relative(at: datetime | None, now: datetime) -> str:
    """`12s ago`, `in 5m`, or a dash when there is no such time."""
    if at is None:
        return "-"
    seconds = (at - now).total_seconds()
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def span(seconds: float) -> str:
    """A length of time in its largest unit that says enough."""
    for unit, length in (("d", 86_400.0), ("h", 3_600.0), ("m", 60.0)):
        if seconds >= 2 * length:
            return f"{int(seconds / length)}{unit}"
    return f"{int(seconds)}s" if seconds >= 10 else f"{seconds:.1f}s"


def clean(text: str) -> str:
    """The text without control characters: what a task writes must not drive the terminal of whoever watches it."""
    return text.translate(_CONTROL)


def _members(word: str) -> dict[str, Any]:
    if word.startswith("@"):
        members = _document(word)
        if not isinstance(members, dict):
            raise Complaint(f"{_place(word)} holds no JSON object, and only objects can be put together")
        return members
    pair = _PAIR.fullmatch(word)
    if pair is None:
        raise Complaint(f"{word!r} is no input", hint="write k=v for text, k=@file for a file's text, k:=json for JSON, @file.json, or - for stdin")
    name, separator, value = pair.groups()
    if separator == "=":
        return {name: _text(value) if value.startswith("@") else value}
    return {name: _document(value) if value.startswith("@") else _json(value.encode(), f"what {name} is set to")}


def _document(word: str) -> Any:
    return _json(_content(word), _place(word))


def _text(word: str) -> str:
    try:
        return _content(word).decode()
    except UnicodeDecodeError as error:
        raise Complaint(f"{_place(word)} is not UTF-8 text: {error}") from None


def _content(word: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if word == "@-" else Path(word[1:]).read_bytes()
    except OSError as error:
        hint = "@ stands for a file; a text that begins with it is written as JSON: k:='\"@…\"'"
        raise Complaint(f"{_place(word)} cannot be read: {error.strerror}", hint=hint) from None


def _place(word: str) -> str:
    return "stdin" if word == "@-" else word[1:]


def _json(text: bytes, place: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Complaint(f"{place} is not JSON: {error}") from None
