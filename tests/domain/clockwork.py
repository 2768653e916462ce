"""A schedule at work on a clock that only tests turn: a scheduler that looks when it said it would, and is down at times, with
rivals that decide on what was; tasks that take their time; and commands.

It does what the scheduler does (`daybook_scheduler.slots`), and holds each step to what schedules promise.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
from tests.domain.ledger import Audit
from tests.domain.schedules import NAME, SECOND, task_of

from daybook.domain.refusals import Refusal
from daybook.domain.schedule import Schedule, Snapshot, decide, evolve, fold
from daybook.domain.schedule_commands import AnyScheduleCommand
from daybook.domain.schedule_events import AnyScheduleEvent, ScheduleEvent, SlotFired, SlotsSkipped
from daybook.domain.slots import LATE, Run, View, Wait, decide_slots, due, next_look
from daybook.domain.status import Status

DECISIONS: Final = 32
MOST_DECISIONS: Final = 500
MOST_LOOKS: Final = 30_000
SHORT: Final = timedelta(seconds=5)
RARELY: Final = timedelta(minutes=1)
AT_ONCE: Final = timedelta(0)
_SNAPSHOT: Final = msgspec.json.Decoder(Snapshot)


class Job(NamedTuple):
    """The task of a slot: it runs from `began` to before `ends`. `tracked`: its schedule minds whether it has ended."""

    slot: datetime
    began: datetime
    ends: datetime
    status: Status
    tracked: bool = True


class Outage(NamedTuple):
    """The time during which nobody looked."""

    begin: datetime
    end: datetime


class World:
    """One schedule, from when it is created on. `job` says how long a task takes, and how it ends; `slow` is how much later
    than planned each look is, `behind` how far a decision's clock is, and `lag` what each decision takes."""

    def __init__(
        self,
        first: ScheduleEvent,
        now: datetime,
        *,
        name: str = NAME,
        job: Callable[[], tuple[timedelta, Status]] = lambda: (AT_ONCE, Status.SUCCESS),
        slow: timedelta = AT_ONCE,
        behind: timedelta = AT_ONCE,
        lag: timedelta = AT_ONCE,
    ) -> None:
        self.now = now
        self.name = name
        self.schedule = evolve(None, first, now)
        self.history: list[tuple[ScheduleEvent, datetime]] = [(first, now)]
        self.jobs: list[Job] = []
        self.outages: list[Outage] = []
        self.caught_up: list[tuple[datetime, str]] = []
        self.planned_at = next_look(self.schedule, name)
        self.wait = Wait()
        self._job, self._slow, self._behind, self._lag = job, slow, behind, lag
        self._heard = self._looked_at = now

    # What happens

    def up(self, duration: timedelta) -> None:
        """The scheduler is there for so long."""
        end = self.now + duration
        self.hear()
        for _ in range(MOST_LOOKS):
            at = self._next_wake()
            if at is None or at > end:
                break
            self.now = max(self.now, at) + self._slow
            self.hear()
            self.look()
        else:
            raise AssertionError(f"{MOST_LOOKS} looks from {end - duration} to {self.now}, and no end")
        self.now = max(self.now, end)

    def down(self, duration: timedelta) -> None:
        """Nobody is there for so long. What tasks do goes on."""
        begin = self.outages.pop().begin if self.outages and self._looked_at < self.outages[-1].end == self.now else self.now
        self.now += duration
        self.outages.append(Outage(begin, self.now))

    def tell(self, command: AnyScheduleCommand) -> AnyScheduleEvent | Refusal:
        """Somebody commands something, scheduler or no scheduler."""
        outcome = decide(self.schedule, command, self.now)
        if isinstance(outcome, ScheduleEvent):
            self._record(outcome)
            self.planned_at, self.wait = next_look(self.schedule, self.name), Wait()
        return outcome

    def crash(self) -> None:
        """A scheduler dies before it has set the timer: what is planned is what the events say."""
        self.planned_at, self.wait = next_look(self.schedule, self.name), Wait()

    def finish(self) -> None:
        """Every task has ended well, and those to come end at once. Nothing is slow any more."""
        self._slow = self._behind = self._lag = AT_ONCE
        self.jobs = [job._replace(ends=min(job.ends, self.now)) for job in self.jobs]
        self._job = lambda: (AT_ONCE, Status.SUCCESS)

    def hear(self) -> None:
        """Tasks that have ended since the last time wake the schedule that waits for them."""
        pauses = self.schedule.rule.pause_after_errors is not None
        for job in self.jobs:
            if self._heard < job.ends <= self.now and (self.wait.for_run or (pauses and job.status is Status.ERROR)):
                self.planned_at = self.now if self.planned_at is None else min(self.planned_at, self.now)
        self._heard = self.now

    def rival(self, behind: int) -> None:
        """Somebody who does not know the last so many events decides too, and loses the race."""
        stale = fold(self.history[: max(1, len(self.history) - behind)])
        assert stale is not None
        decide_slots(stale, self._view(stale))

    def look(self) -> None:
        """Decide what there is to decide, so much at a time, and say when to look again."""
        self._looked_at = self.now
        assert sum(at == self.now for _, at in self.history[-MOST_DECISIONS:]) < MOST_DECISIONS, "it decides and decides"
        for _ in range(DECISIONS):
            view = self._view(self.schedule)
            decision = decide_slots(self.schedule, view)
            if isinstance(decision, Wait):
                self._check_wait(decision, view.now)
                self.planned_at, self.wait = decision.until, decision
                return
            if isinstance(decision, SlotFired):
                self._check_fire(decision, view.now)
            elif isinstance(decision, SlotsSkipped):
                self._check_skip(decision, view.now)
            self._record(decision)
            self.now += self._lag
        self.planned_at, self.wait = self.now, Wait()

    # What is promised

    def audit(self) -> Audit:
        """The ledger, which must be in order, and agree with what the schedule says of itself."""
        audit = Audit(self.history, self.now)
        skipped = {what: count for what, count in self.schedule.counts.items() if what != "fired"}
        assert {what: count for what, count in audit.counts().items() if what != "fired"} == skipped
        assert self.schedule.counts.get("fired", 0) == len(self.jobs)
        assert self.schedule.runs == len(audit.fired())
        return audit

    def check_outages(self) -> None:
        """Of what came due while nobody was there, no more fired than `catch_up` allows. Which of the last few seconds' slots
        were missed depends on when somebody came to look, and whether the end of a task woke them before their turn."""
        for outage in self.outages:
            for catch_up, most in (("none", 0), ("latest", 1), ("all", 100)):
                fired = [at for at, how in self.caught_up if how == catch_up and outage.begin < at <= outage.end - LATE - SHORT]
                assert len(fired) <= most, f"{len(fired)} of {outage} although {catch_up}: {fired[:3]}"

    def check_snapshot(self, cut: int) -> None:
        """Whoever has a snapshot and the events behind it has the schedule."""
        cut = max(1, min(cut, len(self.history)))
        before = fold(self.history[:cut])
        assert before is not None
        kept = _SNAPSHOT.decode(msgspec.json.encode(Snapshot(namespace="n", schedule=before)))
        assert fold(self.history[cut:], kept.schedule) == self.schedule

    def left(self) -> list[datetime]:
        """The slots whose time has come, and about which there is no word."""
        latest = timedelta(seconds=self.schedule.rule.jitter_seconds)
        return [slot for slot in self.audit().undecided if slot + latest <= self.now]

    def _check_wait(self, wait: Wait, now: datetime) -> None:
        schedule, wanted = self.schedule, next_look(self.schedule, self.name)
        assert wait.until is None or wait.until >= now, "that would spin"
        if wait.until is None:
            assert wanted is None, f"nobody looks again, though {wanted} is wanted"
        else:
            assert wanted is not None
            assert wanted <= wait.until, f"{wait} is earlier than {wanted}: nobody would come"
        if schedule.paused_at is not None or schedule.deleted_at is not None:
            return
        upcoming = next(due(schedule, self.name), None)
        if upcoming is not None and wait.until is not None and upcoming.at > now:
            assert wait.until <= upcoming.at, f"{wait} is later than {upcoming}"
        elif upcoming is not None:
            assert wait.until is not None
            assert wait.for_run or wait.until <= now + SHORT, f"{wait} although {upcoming} is due"
        if wait.for_run:
            assert wait.until is not None
            assert wait.until <= now + RARELY
            assert any(job.ends > now and job.slot in schedule.live for job in self.jobs), "it waits for nobody"

    def _check_fire(self, event: SlotFired, now: datetime) -> None:
        schedule, rule = self.schedule, self.schedule.rule
        live = [job for job in self.jobs if job.tracked and job.ends > now]
        assert schedule.paused_at is None
        assert schedule.deleted_at is None
        if rule.overlap in {"skip", "queue_one", "queue_all"}:
            assert not live, f"{event} fires while {live} is live"
        if event.cause != "slot":
            return
        upcoming = next(due(schedule, self.name), None)
        assert upcoming is not None
        assert (event.slot, event.due_at or event.slot) == upcoming, "the same jitter for everybody"
        assert upcoming.at <= now, f"{event} is early"
        assert rule.max_runs is None or schedule.runs < rule.max_runs
        in_line = any(job.ends > upcoming.at for job in self.jobs) or (schedule.served_at is not None and schedule.served_at >= upcoming.at)
        if now - upcoming.at > LATE and not (rule.overlap.startswith("queue") and in_line):
            self.caught_up.append((upcoming.at, rule.catch_up))
            assert now - upcoming.at <= max(timedelta(seconds=rule.catch_up_window_seconds), LATE) + 2 * SHORT

    def _check_skip(self, event: SlotsSkipped, now: datetime) -> None:
        schedule, rule = self.schedule, self.schedule.rule
        if event.reason == "overlap":
            assert rule.overlap in {"skip", "queue_one"}
            began = max((job.began for job in self.jobs), default=None)
            assert began is not None, "there is nothing to overlap"
        elif event.reason == "missed":
            assert now - event.last > LATE
        elif event.reason == "limit":
            assert schedule.is_used_up or rule.catch_up == "all" or rule.overlap == "queue_all"
        else:
            assert event.reason in {"paused", "changed", "ended"}

    # How it works

    def _next_wake(self) -> datetime | None:
        pauses = self.schedule.rule.pause_after_errors is not None
        ends = [job.ends for job in self.jobs if job.ends > self.now and (self.wait.for_run or (pauses and job.status is Status.ERROR))]
        return min((at for at in (self.planned_at, *ends) if at is not None), default=None)

    def _view(self, schedule: Schedule) -> View:
        # A scheduler's clock is a little slow, but it would not look at what is not due by it.
        now = self.now - self._behind if self.planned_at is None else min(self.now, max(self.now - self._behind, self.planned_at))
        return View({job.slot: _run(job, now) for job in self.jobs if job.slot in schedule.live}, now, self.planned_at, self.name, task_of)

    def _record(self, event: ScheduleEvent) -> None:
        before, self.schedule = self.schedule, evolve(self.schedule, event, self.now)
        self.history.append((event, self.now))
        if not isinstance(event, SlotFired):
            return
        overlap = before.rule.overlap
        if overlap == "cancel_previous" and event.cause == "slot":
            self._end(event.live, status=Status.CANCELLED)
        if overlap == "allow":
            self.jobs = [job._replace(tracked=False) for job in self.jobs]
        lasts, status = self._job()
        self.jobs.append(Job(event.slot, self.now, self.now + lasts, status))

    def _end(self, slots: tuple[datetime, ...], **said: Any) -> None:
        self.jobs = [job._replace(ends=self.now, **said) if job.slot in slots and job.ends > self.now else job for job in self.jobs]


def _run(job: Job, now: datetime) -> Run:
    return Run(status=job.status, ended_at=job.ends) if job.ends <= now else Run(status=Status.RUNNING)


def after_a_while(world: World) -> World:
    """Until everything has come to rest: half an hour is what the longest line takes."""
    world.finish()
    for _ in range(3):
        world.up(RARELY + SECOND)
    return world
