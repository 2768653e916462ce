"""Data on stdout: JSON exactly as the API said it, or a table for people. Refuses to write bytes that are not text to a
terminal."""

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import msgspec

from .exits import Complaint
from .options import Output

if TYPE_CHECKING:
    from rich.console import RenderableType

    from daybook.client.requests import Reply


class _RawPage(msgspec.Struct, frozen=True, kw_only=True):
    items: list[msgspec.Raw]
    next_cursor: str | None = None


def chosen(output: Output | None) -> Output:
    """The format asked for, else a table on a terminal and jsonl elsewhere."""
    return output or ("table" if sys.stdout.isatty() else "jsonl")


def print_one(output: Output | None, body: bytes, table: "Callable[[bytes], RenderableType]") -> None:
    """Print one answer of the API."""
    match chosen(output):
        case "table":
            _print_table(table(body))
        case "json":
            write_json(body)
        case "jsonl":
            _write(body + b"\n")


def print_many(output: Output | None, pages: Iterable[bytes], table: "Callable[[bytes], RenderableType]") -> None:
    """Print a list, which may come in several pages; jsonl prints each page as it comes."""
    match chosen(output):
        case "table":
            _print_table(table(_merged(pages)))
        case "json":
            write_json(_merged(pages))
        case "jsonl":
            for page in pages:
                for item in msgspec.json.decode(page, type=_RawPage).items:
                    _write(bytes(item) + b"\n")


def print_result(reply: "Reply") -> None:
    """Print a task's result: the very bytes, but JSON on a terminal is indented."""
    media_type = reply.headers.get("content-type", "").partition(";")[0]
    if media_type == "application/json":
        write_json(reply.body)
    elif not sys.stdout.isatty():
        _write(reply.body)
    elif media_type.startswith("text/"):
        from .wording import clean

        print(clean(reply.body.decode("utf-8", "replace")))
    else:
        raise Complaint(f"the result is {len(reply.body)} bytes of {media_type}", hint="send it to a file: … > FILE")


def write_json(body: bytes) -> None:
    """The JSON as it is, or the same indented on a terminal."""
    _write((msgspec.json.format(body, indent=2) if sys.stdout.isatty() else body) + b"\n")


def _merged(pages: Iterable[bytes]) -> bytes:
    """One body for all pages; a single page stays what it is, and what the first says beside its items is kept."""
    bodies = list(pages)
    if len(bodies) == 1:
        return bodies[0]
    decoded = [msgspec.json.decode(body, type=_RawPage) for body in bodies]
    items = [item for page in decoded for item in page.items]
    first = msgspec.json.decode(bodies[0], type=dict[str, msgspec.Raw])
    return msgspec.json.encode({**first, "items": items, "next_cursor": decoded[-1].next_cursor})


def _write(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _print_table(table: "RenderableType") -> None:
    from rich.console import Console

    Console(file=sys.stdout, highlight=False).print(table)
