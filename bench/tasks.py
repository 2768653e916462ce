"""What Daybook does: submit → success over HTTP and by the batch path, the latency of one task, and how far the read model lags behind."""

import asyncio
import itertools
from statistics import quantiles
from time import perf_counter
from typing import Any, Final
from uuid import UUID

import msgspec

from daybook import ids

from .house import House
from .load import Connection, flood, render

IN_FLIGHT: Final = 64
_TASK: Final = b'{"app":"bench.noop","input":{}}'
_PATIENCE_SECONDS: Final = 60.0


async def submit_http(house: House, tasks: int = 8_000) -> dict[str, float]:
    """One request a task, 64 in flight; counted from the first request until the read model shows the last success."""
    request = render("POST", "/v1/tasks", token=house.token, body=_TASK)
    before = house.processor_seconds.read()
    took = await _until_success(house, tasks, flood(house.port, iter([request] * tasks), in_flight=IN_FLIGHT, expect=b"202"))
    return {"submit_http_tasks_per_s": tasks / took, **_spent(house, before, tasks, "submit_http")}


async def submit_batch(house: House, tasks: int = 20_000, size: int = 500) -> dict[str, float]:
    """Batches of 500, four in flight; counted until the followers have caught up: the read model shows the last success."""
    body = b"[" + b",".join([_TASK] * size) + b"]"
    request = render("POST", "/v1/tasks/batch", token=house.token, body=body)
    before = house.processor_seconds.read()
    took = await _until_success(house, tasks, flood(house.port, iter([request] * (tasks // size)), in_flight=4, expect=b"200"))
    return {"submit_batch_tasks_per_s": tasks / took, **_spent(house, before, tasks, "submit_batch")}


async def latency(house: House, tasks: int = 500) -> dict[str, float]:
    """One task at a time, from the request to the answer that says success (`Prefer: wait`)."""
    request = render("POST", "/v1/tasks", token=house.token, body=_TASK, headers=("Prefer: wait=10",))
    connection = await Connection.open(house.port)
    taken = []
    for _ in range(tasks):
        started = perf_counter()  # the event loop's own clock has milliseconds
        head, _body = await connection.exchange(request)
        taken.append((perf_counter() - started) * 1000)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"no success in time: {head[:60]!r}")
    connection.close()
    return {"latency_p50_ms": quantiles(taken, n=100)[49], "latency_p99_ms": quantiles(taken, n=100)[98]}


async def read_model_lag(house: House, rate: float, seconds: float = 6.0) -> dict[str, float]:
    """At 70 % of the peak load: how long after the answer to a submit the read model shows the task."""
    request = render("POST", "/v1/tasks", token=house.token, body=_TASK)
    lags: list[float] = []
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    turns = itertools.count()
    began = loop.time()

    async def worker(sampled: bool) -> None:
        connection = await Connection.open(house.port)
        while loop.time() < ends:
            due = began + next(turns) / rate
            await asyncio.sleep(max(due - loop.time(), 0))
            _, body = await connection.exchange(request)
            if sampled:
                lags.append(await _lag(house, body))
        connection.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(worker(True))
        for _ in range(IN_FLIGHT - 1):
            group.create_task(worker(False))
    return {"read_model_lag_p50_ms": quantiles(lags, n=100)[49], "read_model_lag_p99_ms": quantiles(lags, n=100)[98]}


async def _lag(house: House, answer: bytes) -> float:
    answered = perf_counter()
    task = ids.parse("tsk", msgspec.json.decode(answer)["id"])
    while await house.database.fetchval("SELECT 1 FROM read.task WHERE id = $1", task) is None:
        await asyncio.sleep(0.001)
    return (perf_counter() - answered) * 1000


async def _until_success(house: House, tasks: int, submitting: Any) -> float:
    """Seconds until so many more tasks have succeeded, as the read model shows it."""
    loop = asyncio.get_running_loop()
    since: UUID = ids.new_id()
    first: int = await house.database.fetchval("SELECT last_value FROM log.position")
    started = loop.time()
    await submitting
    while not await _caught_up(house, first + 3 * tasks) or await _succeeded(house, since) < tasks:
        if loop.time() - started > _PATIENCE_SECONDS:
            raise RuntimeError("the tasks did not succeed in time")
        await asyncio.sleep(0.005)
    return loop.time() - started


async def _succeeded(house: House, since: UUID) -> int:
    found: int = await house.database.fetchval("SELECT count(*) FROM read.task WHERE id > $1 AND status = 'success'", since)
    return found


async def _caught_up(house: House, position: int) -> bool:
    """Whether the log has come this far, and the read model with it. Two rows to look at, so that looking costs nothing."""
    found: bool = await house.database.fetchval(
        "SELECT last_value >= $1 AND (SELECT max(p) FROM log.cursor, unnest(positions) p WHERE follower = 'projector') >= $1 FROM log.position", position
    )
    return found


def _spent(house: House, before: dict[str, float], tasks: int, name: str) -> dict[str, float]:
    after = house.processor_seconds.read()
    return {f"{name}_{service}_cpu_us": (after[service] - before.get(service, 0.0)) / tasks * 1e6 for service in sorted(after)}
