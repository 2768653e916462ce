"""Runs the benchmarks and writes a table and `.bench/latest.json`.

python -m bench              all of them, medians of 5, the timers and streams once (about ten minutes on 2 cores)
python -m bench latency      one of them: raw, submit_http, submit_batch, latency, read_model_lag, timers, streams
"""

import argparse
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median

import msgspec
import uvloop

from . import raw, tasks
from .house import House, house
from .streams import streams
from .timers import timers

NAMES = ("raw", "submit_http", "submit_batch", "latency", "read_model_lag", "timers", "streams")
RUNS = 5
LATEST = Path(".bench/latest.json")


async def _median(name: str, measure: Callable[[], Awaitable[dict[str, float]]], runs: int) -> dict[str, float]:
    """The median of each figure over several runs, told as they come."""
    found: list[dict[str, float]] = []
    for number in range(1, runs + 1):
        found.append(await measure())
        first = next(iter(found[-1]))
        print(f"  {name:16} run {number} of {runs}: {first} {found[-1][first]:,.1f}", file=sys.stderr)
    return {key: median(run[key] for run in found) for key in found[0]}


async def _measure(under: House, wanted: set[str], runs: int, known: dict[str, float]) -> dict[str, float]:
    figures: dict[str, float] = {}
    await tasks.submit_http(under, 500)  # caches, plans and pools as they are in a system that has been up for a while
    if "raw" in wanted:
        figures |= await _median("raw postgres", lambda: raw.postgres(under), runs)
        figures |= await _median("raw jetstream", lambda: raw.jetstream(under), runs)
        figures |= await _median("raw http", raw.http, runs)
    if "latency" in wanted:
        figures |= await _median("latency", lambda: tasks.latency(under), runs)
    if "submit_http" in wanted:
        figures |= await _median("submit_http", lambda: tasks.submit_http(under), runs)
    if "submit_batch" in wanted:
        figures |= await _median("submit_batch", lambda: tasks.submit_batch(under), runs)
    if "read_model_lag" in wanted:
        peak = figures.get("submit_http_tasks_per_s") or known.get("submit_http_tasks_per_s") or (await tasks.submit_http(under))["submit_http_tasks_per_s"]
        figures |= await _median("read_model_lag", lambda: tasks.read_model_lag(under, 0.7 * peak), runs)
    return figures


async def _run(wanted: set[str], runs: int, known: dict[str, float]) -> dict[str, float]:
    """What needs a million timers has a system of its own, up before and after they are made; so has what needs thousands of
    clients, which would be a load to the others."""
    figures: dict[str, float] = {}
    if wanted - {"timers", "streams"}:
        async with house() as under:
            figures |= await _measure(under, wanted, runs, known)
    if "timers" in wanted:
        figures |= await timers()
    if "streams" in wanted:
        figures |= await streams()
    return figures


def _ratios(figures: dict[str, float]) -> dict[str, float]:
    """How much of a raw limit is used; a task is three rows and three messages."""
    pairs = {
        "ratio_submit_http_to_raw_http": ("submit_http_tasks_per_s", "raw_http_requests_per_s", 1),
        "ratio_submit_http_to_raw_postgres": ("submit_http_tasks_per_s", "raw_postgres_rows_per_s", 3),
        "ratio_submit_batch_to_raw_postgres": ("submit_batch_tasks_per_s", "raw_postgres_rows_per_s", 3),
        "ratio_submit_batch_to_raw_jetstream": ("submit_batch_tasks_per_s", "raw_jetstream_messages_per_s", 3),
    }
    return {name: figures[ours] * each / figures[limit] for name, (ours, limit, each) in pairs.items() if ours in figures and limit in figures}


def _machine() -> str:
    model = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {model or 'unknown processor'}, Python {platform.python_version()}"


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks of Daybook on this machine.")
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=f"which: {', '.join(NAMES)}; all unless said")
    parser.add_argument("--runs", type=int, default=RUNS, help="runs per figure (median of 5 unless said)")
    arguments = parser.parse_args()
    known: dict[str, float | str] = msgspec.json.decode(LATEST.read_bytes()) if LATEST.exists() else {}
    numbers = {name: value for name, value in known.items() if isinstance(value, float | int)}

    figures = uvloop.run(_run(set(arguments.names) or set(NAMES), arguments.runs, numbers))
    numbers |= figures
    numbers |= _ratios(numbers)
    LATEST.parent.mkdir(exist_ok=True)
    rounded = {name: round(value, 3) for name, value in sorted(numbers.items())}
    LATEST.write_bytes(msgspec.json.format(msgspec.json.encode({**rounded, "machine": _machine(), "runs": arguments.runs})))
    print(f"\n{_machine()}; medians of {arguments.runs}, timers and streams once\n")
    for name in sorted(figures | _ratios(numbers)):
        print(f"{name:44} {numbers[name]:>14,.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
