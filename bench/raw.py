"""The raw limits: what Postgres, JetStream and the web server do on this machine when nothing of ours is in between."""

import asyncio
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from typing import Any

import asyncpg
import nats
from nats.js.api import StreamConfig

from daybook import ids

from .house import House
from .load import flood, render
from .tasks import IN_FLIGHT

_ROW_BYTES = 250


async def postgres(house: House, rows: int = 60_000, group: int = 64, writers: int = 4) -> dict[str, float]:
    """Grouped inserts of rows like the log's, with one primary key, on four connections, durably."""
    await house.database.execute("DROP TABLE IF EXISTS raw_limit; CREATE TABLE raw_limit (id uuid PRIMARY KEY, data json)")
    data = b'"' + b"x" * (_ROW_BYTES - 2) + b'"'
    connections = [await asyncpg.connect(house.database_url) for _ in range(writers)]
    loop = asyncio.get_running_loop()

    async def write(connection: Any) -> None:
        for _ in range(rows // group // writers):
            batch = [ids.new_id() for _ in range(group)]
            await connection.execute("INSERT INTO raw_limit SELECT * FROM unnest($1::uuid[], $2::json[])", batch, [data.decode()] * group)

    started = loop.time()
    await asyncio.gather(*map(write, connections))
    took = loop.time() - started
    for connection in connections:
        await connection.close()
    await house.database.execute("DROP TABLE raw_limit")
    return {"raw_postgres_rows_per_s": rows / took}


async def jetstream(house: House, messages: int = 30_000, page: int = 200) -> dict[str, float]:
    """Messages of the same size into a file stream, all acknowledged, a page at a time."""
    connection = await nats.connect(house.nats_url)
    js = connection.jetstream(publish_async_max_pending=page)
    await js.add_stream(StreamConfig(name="RAW_LIMIT", subjects=["raw.limit"]))
    loop = asyncio.get_running_loop()
    body = b"x" * _ROW_BYTES
    started = loop.time()
    for _ in range(messages // page):
        await asyncio.gather(*[await js.publish_async("raw.limit", body) for _ in range(page)])
    took = loop.time() - started
    await js.delete_stream("RAW_LIMIT")
    await connection.close()
    return {"raw_jetstream_messages_per_s": messages / took}


async def http(requests: int = 20_000) -> dict[str, float]:
    """A hello-world of the same web server and framework, in a process of its own, under the same load generator."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=partial(_hello, theirs), daemon=True)
    server.start()
    port = await asyncio.to_thread(ours.recv)
    request = render("POST", "/hello", body=b'{"app":"bench.noop","input":{}}')
    loop = asyncio.get_running_loop()
    started = loop.time()
    await flood(port, iter([request] * requests), in_flight=IN_FLIGHT, expect=b"201")
    took = loop.time() - started
    server.terminate()
    await asyncio.to_thread(server.join)
    return {"raw_http_requests_per_s": requests / took}


def _hello(pipe: Pipe) -> None:
    import socket

    import uvicorn
    import uvloop
    from litestar import Litestar, post

    @post("/hello", sync_to_thread=False)
    def hello() -> dict[str, str]:
        return {"hello": "world"}

    listening = socket.create_server(("127.0.0.1", 0))
    pipe.send(listening.getsockname()[1])
    app = Litestar([hello], logging_config=None, openapi_config=None)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", proxy_headers=False))
    uvloop.run(server.serve(sockets=[listening]))
