"""A bucket: an object store on a socket that speaks as much S3 as it takes to put and get objects. It stands in for
somebody else's service, never for a part of ours, and can be told to refuse."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from tests.services import listening


class Bucket:
    """What was put, by path, and the status that every request is answered with, if one is set."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.objects: dict[str, bytes] = {}
        self.refusal: int | None = None
        self.requests = 0

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer one request."""
        self.requests += 1
        body = b""
        while True:
            part = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        status, answer = self._answer(scope["method"], scope["path"], body)
        headers = [(b"content-length", str(len(answer)).encode()), (b"etag", b'"1"'), (b"last-modified", b"Mon, 23 Nov 2026 08:00:00 GMT")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if self.refusal is not None:
            return self.refusal, b"<Error><Code>Refused</Code></Error>"
        if method == "PUT":
            self.objects[path] = body
            return 200, b""
        return (200, self.objects[path]) if path in self.objects else (404, b"<Error><Code>NoSuchKey</Code></Error>")


@asynccontextmanager
async def serving_bucket() -> AsyncIterator[Bucket]:
    """A bucket that answers."""
    with listening() as listener:
        bucket = Bucket(listener.getsockname()[1])
        config = uvicorn.Config(bucket, log_config=None, lifespan="off", http="httptools", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield bucket
        finally:
            server.should_exit = True
            await running
