"""A little web server of the demo's own, on this machine only: the texts, for the app that fetches a page, and the
extractive summariser behind the protocol that language models speak, for the app that asks for a summary.

    GET  /gettysburg.txt
    POST /v1/chat/completions     {"messages": […], "stream": true}: server-sent events, a word at a time
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from . import extractive

TEXTS: Final = Path(__file__).parent / "texts"

_WORDS: Final = re.compile(r"\S+\s*")


@contextmanager
def serving() -> Iterator[str]:
    """The server's address, while it serves."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = TEXTS / self.path.removeprefix("/")
        if path not in TEXTS.iterdir():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self._answer(HTTPStatus.OK, "text/plain; charset=utf-8", path.read_bytes())

    def do_POST(self) -> None:
        if self.path != "/v1/chat/completions":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))))
            text = str([message["content"] for message in asked["messages"] if message["role"] == "user"][-1])
        except (ValueError, LookupError, TypeError) as error:
            problem = {"error": {"message": f"not a chat: {error}", "type": "invalid_request_error"}}
            self._answer(HTTPStatus.BAD_REQUEST, "application/json", json.dumps(problem).encode())
            return
        # The first paragraph is the instruction ("Summarise this text …"); what follows is the text.
        _, gap, rest = text.partition("\n\n")
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for piece in _pieces(extractive.summarise(rest if gap else text)):
            self.wfile.write(b"data: " + json.dumps(piece).encode() + b"\n\n")
        self.wfile.write(b"data: [DONE]\n\n")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  The library's name.
        """Nothing: the terminal belongs to the demo."""

    def _answer(self, status: HTTPStatus, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _pieces(answer: str) -> Iterator[dict[str, Any]]:
    """The answer in the pieces of a streamed chat completion."""

    def piece(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": 0, "model": extractive.NAME, "choices": [choice]}

    for word in _WORDS.findall(answer):
        yield piece({"role": "assistant", "content": word})
    yield piece({}, "stop")
