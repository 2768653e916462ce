"""Event streams: thousands of clients of one API process. What they cost, how soon they are told, and what they do to others."""

import asyncio
import os
import sys
from pathlib import Path
from statistics import mean, quantiles
from time import perf_counter
from typing import Any, Final

import msgspec

from .crowd import Crowd, raise_limit
from .house import House, house
from .load import Connection, render

CLIENTS: Final = 5_000
_DEAF: Final = 100
_SPARE_FILES: Final = 500
_STRAY_FILES: Final = 20
"""Connections to Postgres come and go."""
_SUBMITS: Final = 1_000
_ROUNDS: Final = 10
_CUT_OFF_SECONDS: Final = 40.0
_PATIENCE_SECONDS: Final = 30.0


async def streams() -> dict[str, float]:
    """All of it, in a system of its own; about two minutes."""
    clients = min(CLIENTS, raise_limit() - _SPARE_FILES)
    async with house() as under:
        crowd = Crowd()
        try:
            return await _measure(under, crowd, clients)
        finally:
            crowd.close()


async def _measure(under: House, crowd: Crowd, clients: int) -> dict[str, float]:
    api = _process_of(under.port)
    task = await _submit(under, "bench.noop", {}, delay="1h")
    path = f"/v1/tasks/{task}/events"
    await _submit_ms(under)  # caches, plans and pools as they are in a system that has been up for a while
    await crowd.ask("open", under.port, under.token, path, 100)
    await crowd.ask("abort")
    alone = [await _submit_ms(under)]
    files, resident = await _settled_files(api), _resident(api)

    figures = {"sse_clients": float(clients), "sse_open_s": await crowd.ask("open", under.port, under.token, path, clients)}
    figures["sse_bytes_per_client"] = (_resident(api) - resident) / clients
    beside = [await _submit_ms(under), await _submit_ms(under)]
    _say("held", clients, f"{figures['sse_bytes_per_client']:,.0f} bytes each")
    spent = _processor_seconds(api)
    told = await crowd.ask("fan_out", under.port, under.token, task, _ROUNDS)
    figures |= {f"sse_fanout_{name}": value for name, value in told.items()}
    figures["sse_fanout_cpu_us"] = (_processor_seconds(api) - spent) / clients / _ROUNDS * 1e6
    _say("told of one event within", f"{told['p99_ms']:,.0f} ms", "(99 of 100)")
    figures["sse_abort_s"] = await _abort(crowd, api, files)
    alone.append(await _submit_ms(under))
    figures |= _slowdown(alone, beside)
    figures["sse_reconnect_storm_s"] = await crowd.ask("open", under.port, under.token, path, clients, "1.0.0")
    _say("all back within", f"{figures['sse_reconnect_storm_s']:,.1f} s")
    await _abort(crowd, api, files)
    figures |= await _feed(under, crowd, task)
    await _abort(crowd, api, files)
    return figures | await _deaf(under, crowd, api, files)


def _slowdown(alone: list[dict[str, float]], beside: list[dict[str, float]]) -> dict[str, float]:
    """What the streams do to submissions; those by themselves were measured before and after, since machines have moods."""
    figures = {f"sse_submit_{name}_ms_{when}": mean(one[name] for one in ones) for when, ones in (("alone", alone), ("beside", beside)) for name in ones[0]}
    return figures | {"sse_submit_slowdown": figures["sse_submit_p99_ms_beside"] / figures["sse_submit_p99_ms_alone"]}


async def _feed(under: House, crowd: Crowd, task: str) -> dict[str, float]:
    """A fifth of them on the feed of everything."""
    await crowd.ask("open", under.port, under.token, "/v1/events", CLIENTS // 5)
    told = await crowd.ask("fan_out", under.port, under.token, task, _ROUNDS)
    return {"sse_feed_clients": CLIENTS / 5, "sse_feed_fanout_p99_ms": told["p99_ms"]}


async def _deaf(under: House, crowd: Crowd, api: int, files: int) -> dict[str, float]:
    """Clients that never read, of a task that says several MB: they are cut off, and nothing piles up for them."""
    task = await _submit(under, "bench.talks", {"chunks": 200, "size": 30_000})
    await crowd.ask("deaf", under.port, under.token, f"/v1/tasks/{task}/events", _DEAF)
    before = most = _resident(api)
    began = perf_counter()
    while _files(api) > files + _DEAF // 10 and perf_counter() - began < _CUT_OFF_SECONDS:
        most = max(most, _resident(api))
        await asyncio.sleep(0.25)
    took = perf_counter() - began
    left = await crowd.ask("listen")
    _say("deaf clients", _DEAF, f"cut off after {took:,.0f} s, {left} left")
    return {"sse_deaf_clients_left": float(left), "sse_deaf_cut_off_s": took, "sse_deaf_rss_growth_mb": (most - before) / 1e6}


async def _abort(crowd: Crowd, api: int, files: int) -> float:
    """Everybody hangs up at once: seconds until the API has cleaned up."""
    began = perf_counter()
    await crowd.ask("abort")
    while _files(api) > files + _STRAY_FILES:
        if perf_counter() - began > _PATIENCE_SECONDS:
            raise RuntimeError(f"{_files(api) - files} connections were not cleaned up")
        await asyncio.sleep(0.02)
    return perf_counter() - began


async def _submit(under: House, app: str, given: dict[str, Any], **more: Any) -> str:
    connection = await Connection.open(under.port)
    body = msgspec.json.encode({"app": app, "input": given, **more})
    head, answer = await connection.exchange(render("POST", "/v1/tasks", token=under.token, body=body))
    connection.close()
    if not head.startswith(b"HTTP/1.1 202"):
        raise RuntimeError(f"{head[:60]!r} {answer[:500]!r}")
    return str(msgspec.json.decode(answer)["id"])


async def _submit_ms(under: House) -> dict[str, float]:
    """How long one submit takes, one after the other."""
    connection = await Connection.open(under.port)
    request = render("POST", "/v1/tasks", token=under.token, body=b'{"app":"bench.noop","input":{},"delay":"1h"}')
    taken = []
    for _ in range(_SUBMITS):
        started = perf_counter()
        await connection.exchange(request)
        taken.append((perf_counter() - started) * 1000)
    connection.close()
    cuts = quantiles(taken, n=100)
    return {"p50": cuts[49], "p99": cuts[98]}


async def _settled_files(api: int) -> int:
    """How many files the API has open, once that no longer falls."""
    files = _files(api)
    for _ in range(20):
        await asyncio.sleep(0.1)
        files = min(files, _files(api))
    return files


def _process_of(port: int) -> int:
    """The API that listens there."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_text().split("\0")
            except OSError:
                continue
            if "serve" in command and "api" in command and str(port) in command:
                return int(entry.name)
    raise RuntimeError("the API is not there")


def _files(process: int) -> int:
    return sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())


def _resident(process: int) -> int:
    fields = Path(f"/proc/{process}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def _processor_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _say(*words: object) -> None:
    print("  streams         ", *words, file=sys.stderr)
