"""Random commands, at random times, about random attempts: whatever comes, the log stays a history that can be.

What is kept went through bytes, as in the database. Each answer is foreseen from the facts alone, without the table and
without the folded state, so that the rules are kept in two books that must agree. Short stories are told all of them,
long ones at random.
"""

from datetime import datetime, timedelta
from typing import Final, TypeAlias

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from daybook.domain.commands import (
    AnyCommand,
    Cancel,
    ConfirmCancel,
    Fail,
    MarkDue,
    Release,
    Reschedule,
    Start,
    Submit,
    Succeed,
)
from daybook.domain.events import (
    AnyTaskEvent,
    Content,
    TaskCancelled,
    TaskCancelRequested,
    TaskDue,
    TaskEvent,
    TaskFailed,
    TaskReleased,
    TaskRescheduled,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
)
from daybook.domain.refusals import AlreadyDone, AlreadyExists, InThePast, NotAllowed, NotFound, StaleAttempt
from daybook.domain.status import TERMINAL, Status
from daybook.domain.task import Task, decide, evolve, fold
from daybook.testing import NOON

CONTENT: Final = Content(digest="aa" * 32, size_bytes=2)
START: Final = Start(actor="r", runner="r")
MARK_DUE: Final = MarkDue(actor="s", causation="evt")
MINUTE: Final = timedelta(minutes=1)
FACTS: Final = msgspec.json.Decoder(AnyTaskEvent)

End: TypeAlias = TaskSucceeded | TaskFailed | TaskCancelled
Report: TypeAlias = Succeed | Fail | Release | ConfirmCancel

minutes = st.integers(-4, 4).map(lambda number: number * MINUTE / 2)
delays = st.none() | minutes
# Mostly the attempt that counts, so that stories get somewhere; otherwise one before or after it.
offsets = st.sampled_from([0, 0, -1, -2, 1])


def foreseen(facts: list[AnyTaskEvent], command: AnyCommand, now: datetime) -> type[msgspec.Struct]:
    """What the rules have to answer after these facts."""
    if isinstance(command, Submit):
        late = command.run_at is not None and now - command.run_at > MINUTE
        return AlreadyExists if facts else InThePast if late else TaskSubmitted
    if not facts:
        return NotFound
    asked_to_stop = isinstance(facts[-1], TaskCancelRequested)
    last = facts[-2] if asked_to_stop else facts[-1]
    running, ended = isinstance(last, TaskStarted), isinstance(last, End)
    run_at = last.run_at if isinstance(last, TaskSubmitted | TaskRescheduled) else None
    match command:
        case Succeed() | Fail() | Release() | ConfirmCancel():
            if command.attempt != sum(isinstance(fact, TaskStarted) for fact in facts):
                return StaleAttempt
            return foreseen_report(command, asked_to_stop) if running else NotAllowed
        case Start():
            return NotAllowed if running or ended or run_at else TaskStarted
        case MarkDue():
            return TaskDue if run_at and run_at <= now else NotAllowed
        case Reschedule():
            late = now - command.run_at > MINUTE
            return NotAllowed if running or ended else InThePast if late else TaskRescheduled
        case Cancel():
            if asked_to_stop or isinstance(last, TaskCancelled):
                return AlreadyDone
            return NotAllowed if ended else TaskCancelRequested if running else TaskCancelled


def foreseen_report(command: Report, asked_to_stop: bool) -> type[msgspec.Struct]:
    """What a report of the running attempt becomes."""
    match command:
        case Succeed():
            return TaskSucceeded
        case Fail():
            return TaskFailed
        case Release():
            return TaskCancelled if asked_to_stop else TaskReleased
        case ConfirmCancel():
            return TaskCancelled


def submit(now: datetime, delay: timedelta | None) -> Submit:
    run_at = None if delay is None else now + delay
    return Submit(actor="ann", owner="ann", app="a", app_version="v", input=CONTENT, run_at=run_at, fingerprint="f")


def everything(run_at: datetime, attempt: int) -> list[AnyCommand]:
    """One of each command."""
    return [
        submit(run_at, timedelta()),
        Reschedule(actor="ann", reason="rain", run_at=run_at),
        MARK_DUE,
        START,
        Succeed(actor="r", attempt=attempt, result=CONTENT),
        Fail(actor="r", attempt=attempt, error=CONTENT, error_type="E"),
        Release(actor="r", attempt=attempt, reason="draining"),
        ConfirmCancel(actor="r", attempt=attempt, correlation="c"),
        Cancel(actor="bob", reason="enough"),
    ]


class Ledger(msgspec.Struct, frozen=True):
    """One task and its log, after every command checked against what was foreseen."""

    log: tuple[tuple[AnyTaskEvent, datetime], ...] = ()
    task: Task | None = None
    reported: tuple[int, ...] = ()

    @property
    def facts(self) -> list[AnyTaskEvent]:
        return [fact for fact, _ in self.log]

    @property
    def attempt(self) -> int:
        return self.task.attempt if self.task else 0

    def obey(self, command: AnyCommand, now: datetime) -> "Ledger":
        """Decide and, where that makes an event, append it as the log would: encoded, as the next version."""
        answer = decide(self.task, command, now)
        assert type(answer) is foreseen(self.facts, command, now)
        assert decide(self.task, command, now) == answer
        if not isinstance(answer, TaskEvent):
            return self
        for field in set(command.__struct_fields__) & set(answer.__struct_fields__):
            assert getattr(answer, field) == getattr(command, field)
        task = evolve(self.task, answer, now)
        assert task.attempt == self.attempt + isinstance(answer, TaskStarted)
        log = (*self.log, (FACTS.decode(msgspec.json.encode(answer)), now))
        reported = (command.attempt,) if isinstance(command, Report) else ()
        return Ledger(log, task, self.reported + reported)

    def check_history(self) -> None:
        """The log folds to the task, ends at most once, and counts its attempts."""
        assert fold(self.log) == self.task
        assert (self.task.version if self.task else 0) == len(self.log)
        ends = [version for version, fact in enumerate(self.facts, 1) if isinstance(fact, End)]
        assert ends in ([], [len(self.log)])
        assert bool(ends) == (self.task is not None and self.task.status in TERMINAL)
        started = [fact.attempt for fact in self.facts if isinstance(fact, TaskStarted)]
        assert started == list(range(1, len(started) + 1))
        assert len(self.reported) == len(set(self.reported)), "an attempt was reported about twice"
        assert set(self.reported) <= set(started)

    def check_state(self) -> None:
        """No field of the task contradicts its status."""
        task = self.task
        if task is None:
            return
        assert (task.finished_at is not None) == (task.status in TERMINAL)
        assert (task.result is not None) == (task.status is Status.SUCCESS)
        assert (task.error is not None) == (task.status is Status.ERROR) == bool(task.error_type)
        assert task.run_at is not None or task.status is not Status.SCHEDULED
        assert task.attempt > 0 or task.status not in (Status.RUNNING, Status.SUCCESS, Status.ERROR)
        assert (task.attempt > 0) == bool(task.runner) == (task.started_at is not None)
        assert not task.cancel_requested or task.status in TERMINAL | {Status.RUNNING}


class TaskMachine(RuleBasedStateMachine):
    """One ledger at a time, and everybody who wants something. When a task has ended, another one may begin."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.ledger = Ledger()

    @initialize(delay=delays)
    def first(self, delay: timedelta | None) -> None:
        self.ledger = Ledger().obey(submit(self.now, delay), self.now)

    @precondition(lambda self: self.ledger.task and self.ledger.task.status in TERMINAL)
    @rule(delay=delays)
    def another(self, delay: timedelta | None) -> None:
        self.ledger = Ledger().obey(submit(self.now, delay), self.now)

    @rule(step=minutes, to_its_time=st.booleans())
    def time_passes_or_a_clock_is_set_back(self, step: timedelta, to_its_time: bool) -> None:
        run_at = self.ledger.task.run_at if self.ledger.task else None
        self.now = (run_at if to_its_time and run_at else self.now) + step

    @rule(which=st.integers(0, 8), delay=minutes, offset=offsets)
    def somebody_wants_something(self, which: int, delay: timedelta, offset: int) -> None:
        wish = everything(self.now + delay, self.ledger.attempt + offset)[which]
        self.ledger = self.ledger.obey(wish, self.now)

    @rule(which=st.integers(0, 4), delay=minutes)
    def somebody_wants_what_is_possible(self, which: int, delay: timedelta) -> None:
        """Blind wishes are mostly refused; this one carries the story further."""
        wishes = everything(self.now + delay, self.ledger.attempt)
        possible = [wish for wish in wishes if issubclass(foreseen(self.ledger.facts, wish, self.now), TaskEvent)]
        for wish in possible[which : which + 1]:
            self.ledger = self.ledger.obey(wish, self.now)

    @invariant()
    def the_log_is_a_history_that_can_be(self) -> None:
        self.ledger.check_history()

    @invariant()
    def the_state_makes_sense(self) -> None:
        self.ledger.check_state()


TestTask = TaskMachine.TestCase
TestTask.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def continuations(ledger: Ledger) -> list[Ledger]:
    """Every way on: each command, for a time just past or still ahead, about this attempt or its neighbours."""
    ago, ahead = NOON - MINUTE, NOON + MINUTE
    wishes = everything(ago, ledger.attempt)
    wishes += [wish for wish in everything(ahead, ledger.attempt) if isinstance(wish, Submit | Reschedule)]
    wishes += [wish for wish in everything(ago, ledger.attempt - 1) if isinstance(wish, Report)]
    wishes += [wish for wish in everything(ago, ledger.attempt + 1) if isinstance(wish, Report)]
    after = [ledger.obey(wish, NOON) for wish in [submit(NOON, None), *wishes]]
    return [longer for longer in after if longer is not ledger]


def test_every_short_story() -> None:
    stories = [Ledger()]
    for _ in range(8):
        stories = [longer for ledger in stories for longer in continuations(ledger)]
        assert stories
        for ledger in stories:
            ledger.check_history()
            ledger.check_state()
