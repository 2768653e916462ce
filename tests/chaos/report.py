"""What came of a run: counts, latencies, violations; printed for people, written as JSON for whoever counts.

Takeover is measured from the moment in which we stopped a runner (killed or froze it) to the next start of each attempt that it lost; losses
without such a moment (a runner that was cut off) are counted and not measured, and where everybody who could notice was killed as well, it is told
apart. Cancel is measured by the log: from the wish to the
end, of async work, where no fault was near.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from .checker import ends
from .evidence import Entry, Evidence
from .fleet import Exit, Fleet

_ENOUGH_TAKEOVERS: Final = 200
_ENOUGH_CANCELS: Final = 50


class Round(msgspec.Struct, kw_only=True):
    """One fault and what the checker said of it."""

    fault: str
    began_at: float
    healed_at: float = 0.0
    quiet_after_seconds: float = 0.0
    violations: dict[str, list[str]] = {}


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds."""

    count: int
    p50: float
    p95: float
    p99: float
    worst: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that is worth keeping of a run."""

    seed: int
    tier: str
    mutant: str
    ttl_seconds: float
    seconds: float
    tasks: int
    events: int
    acknowledged: int
    unknown_answers: int
    losses: int
    ends: dict[str, int]
    exits: dict[str, list[int]]
    takeover: Latency
    takeover_by_fault: dict[str, Latency]
    cancel: Latency
    rounds: list[Round]

    @property
    def violations(self) -> int:
        """How many there are."""
        return sum(len(found) for each in self.rounds for found in each.violations.values())


def latency(seconds: Iterable[float]) -> Latency:
    """Percentiles by the nearest rank; zeros when there is nothing."""
    ordered = sorted(seconds)
    if not ordered:
        return Latency(count=0, p50=0, p95=0, p99=0, worst=0)
    p50, p95, p99 = (round(ordered[min(int(len(ordered) * share), len(ordered) - 1)], 3) for share in (0.5, 0.95, 0.99))
    return Latency(count=len(ordered), p50=p50, p95=p95, p99=p99, worst=round(ordered[-1], 3))


def takeovers(evidence: Evidence, fleet: Fleet, rounds: list[Round]) -> dict[str, list[float]]:
    """By fault: from the stop of a runner to the next start of each attempt that it lost."""
    stopped_at: dict[int, float] = {}
    for member in fleet.members:
        stopped_at |= {exit_.pid: exit_.at for exit_ in member.exits if _was_killed(exit_)} | member.stopped_at
    found: dict[str, list[float]] = {}
    for stream in evidence.tasks.values():
        for number, entry in enumerate(stream):
            if entry.kind == "task.lost.v1":
                stopped = stopped_at.get(evidence.pids.get(_runner_of(stream, entry), 0))
                again = next((later for later in stream[number:] if later.kind == "task.started.v1"), None)
                if stopped is not None and again is not None:
                    fault = next((each.fault for each in reversed(rounds) if each.began_at <= stopped), "")
                    found.setdefault(fault, []).append(again.at.timestamp() - stopped)
    return found


def cancels(evidence: Evidence, rounds: list[Round], ttl_seconds: float) -> list[float]:
    """From the wish to the end, of async work, away from every fault."""
    disturbed = [(each.began_at - 3, each.healed_at + 2 * ttl_seconds) for each in rounds if each.fault != "nothing"]
    found = []
    for stream in evidence.tasks.values():
        wish = next((entry for entry in stream if entry.kind == "task.cancel_requested.v1"), None)
        if wish is None or stream[0].data["app"] != "chaos.work" or stream[-1].kind != "task.cancelled.v1":
            continue
        at = wish.at.timestamp()
        if not any(begin <= at <= end for begin, end in disturbed):
            found.append(stream[-1].at.timestamp() - at)
    return found


def broken_promises(takeover: Latency, cancel: Latency, ttl_seconds: float) -> dict[str, list[str]]:
    """Where there is enough to measure: takeover within the lease and 2 s, 99 times of 100, and cancel within a second, 95 times of 100."""
    found = {}
    if takeover.count >= _ENOUGH_TAKEOVERS and takeover.p99 > ttl_seconds + 2:
        found["takeover_is_soon"] = [_spell(takeover)]
    if cancel.count >= _ENOUGH_CANCELS and cancel.p95 > 1:
        found["cancel_is_quick"] = [_spell(cancel)]
    return found


def outcomes(evidence: Evidence) -> dict[str, int]:
    """How many tasks ended how."""
    words = ("open" if not ends(stream[-1]) else stream[-1].kind.split(".")[1] for stream in evidence.tasks.values())
    return dict(sorted(Counter(words).items()))


def summary(report: Report) -> str:
    """For people."""
    counts = ", ".join(f"{word} {count}" for word, count in report.ends.items())
    exits = ", ".join(f"{name}: {codes}" for name, codes in report.exits.items())
    tier = f"{report.tier} tier{f', mutant {report.mutant}' if report.mutant else ''}"
    lines = [
        f"seed {report.seed}, {tier}, leases of {report.ttl_seconds:g} s: {len(report.rounds)} faults in {report.seconds:.0f} s",
        f"{report.tasks} tasks, {report.acknowledged} of them acknowledged ({counts})",
        f"{report.events} events, {report.losses} losses, {report.unknown_answers} answers that never came",
        f"takeover   {_spell(report.takeover)}",
        *(f"    {fault}: {_spell(measured)}" for fault, measured in report.takeover_by_fault.items()),
        f"cancel     {_spell(report.cancel)}",
        f"processes ended with {exits}",
    ]
    for each in report.rounds:
        for name, found in each.violations.items():
            lines.append(f"VIOLATION after {each.fault}: {name}")
            lines += [f"    {one}" for one in found]
    lines.append(f"{report.violations} violations")
    return "\n".join(lines)


def _spell(measured: Latency) -> str:
    return f"p50 {measured.p50:.2f} s, p95 {measured.p95:.2f} s, p99 {measured.p99:.2f} s, worst {measured.worst:.2f} s of {measured.count}"


def _runner_of(stream: list[Entry], lost: Entry) -> str:
    starts = [entry for entry in stream if entry.kind == "task.started.v1" and entry.data["attempt"] == lost.data["attempt"]]
    return str(starts[-1].data["runner"]) if starts else ""


def _was_killed(exit_: Exit) -> bool:
    return exit_.code == -9
