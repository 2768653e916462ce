"""Server-sent events read from bytes as they arrive, by rules of our own: HTTP/1.1, its chunks, and the frames in them.

An observer that shares no code with the product or with its client. A frame counts when its blank line has come; of a
connection that is cut in the middle of one nothing remains. Refuses what no server may send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

_LONGEST_HEAD_BYTES: Final = 16 * 1024


class Frame(NamedTuple):
    """A server-sent event; `id` is the client's place after it."""

    event: str
    id: str
    data: bytes


class Answer:
    """One answer, fed piece by piece; `frames` are those that are whole and were not taken yet."""

    def __init__(self, last_id: str) -> None:
        self.status = 0
        self.last_id = last_id
        self.frames: list[Frame] = []
        self.received_bytes = 0
        self.is_whole = False
        """Whether the server said that this was all."""
        self._raw = b""
        self._chunk_left = 0
        self._text = b""
        self._event, self._id, self._data = b"", last_id, list[bytes]()

    def feed(self, data: bytes) -> None:
        """Some bytes have come."""
        self.received_bytes += len(data)
        self._raw += data
        if not self.status and not self._head():
            return
        while self._raw and not self.is_whole and self._body():
            pass

    def _head(self) -> bool:
        head, ended, rest = self._raw.partition(b"\r\n\r\n")
        if not ended:
            assert len(head) < _LONGEST_HEAD_BYTES
            return False
        first, *fields = head.decode("ascii").split("\r\n")
        protocol, status, *_ = first.split(" ")
        assert protocol == "HTTP/1.1", first
        self.status = int(status)
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if self.status == 200:
            assert headers["content-type"].partition(";")[0] == "text/event-stream", headers
            assert headers["transfer-encoding"] == "chunked", headers
        else:
            self.is_whole = True  # the body of another answer is of no interest
        self._raw = rest
        return True

    def _body(self) -> bool:
        """Go on with the chunks; false when more bytes are needed."""
        if self._chunk_left > 2:
            piece = self._raw[: self._chunk_left - 2]
            self._raw = self._raw[len(piece) :]
            self._chunk_left -= len(piece)
            self._lines(piece)
            return True
        if self._chunk_left:  # what is left of a chunk is its line end
            ended, self._raw = self._raw[: self._chunk_left], self._raw[self._chunk_left :]
            assert b"\r\n".endswith(ended) or ended == b"\r", ended
            self._chunk_left -= len(ended)
            return True
        size, ended, rest = self._raw.partition(b"\r\n")
        if not ended:
            return False
        self._raw = rest
        self.is_whole = int(size, 16) == 0
        self._chunk_left = int(size, 16) + 2
        return True

    def _lines(self, piece: bytes) -> None:
        *lines, self._text = (self._text + piece).split(b"\n")
        for line in lines:
            assert b"\r" not in line, line
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            match name:
                case b"":
                    self._dispatch()
                case b"event":
                    self._event = value
                case b"data":
                    self._data.append(value)
                case b"id":
                    self._id = value.decode()
                case b"retry":
                    assert value.isdigit(), line
                case _:
                    raise AssertionError(f"not a field of a server-sent event: {line!r}")

    def _dispatch(self) -> None:
        self.last_id = self._id
        if self._data:
            self.frames.append(Frame(self._event.decode() or "message", self._id, b"\n".join(self._data)))
        self._event, self._data = b"", []


class Wire(asyncio.Protocol):
    """The client's end of one connection: asks, and feeds the answer to whoever is told of it."""

    def __init__(self, request: bytes, answer: Answer, on_frame: Callable[[Frame], None]) -> None:
        self._request, self._answer, self._on_frame = request, answer, on_frame
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the answer is whole or the connection is gone. Holds what our own side refused, if it did."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self.closed.done():
            return
        try:
            self._answer.feed(data)
            frames, self._answer.frames = self._answer.frames, []
            for frame in frames:
                self._on_frame(frame)
        except Exception as error:  # noqa: BLE001 - it belongs to the watcher, not to the event loop's logger
            self.closed.set_exception(error)
            return
        if self._answer.is_whole:
            self.closed.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
