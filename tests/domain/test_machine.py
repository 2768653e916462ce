"""Random commands, at random times, about random attempts: whatever comes, the log stays a history that can be.

What is kept went through bytes, as in the database. Each answer is foreseen from the facts alone, without the table and
without the folded state, so that the rules are kept in two books that must agree. Short stories are told all of them,
long ones at random.
"""

from datetime import datetime, timedelta
from typing import Final, TypeAlias

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace
from tests.domain.foreseen import MINUTE, SECOND, Past, Report, foresee

from daybook.domain.commands import AnyCommand, Cancel, ConfirmCancel, Expire, Fail, Lose, MarkDue, Release, Reschedule, Retry, Start, Submit, Succeed
from daybook.domain.events import (
    AnyTaskEvent,
    Content,
    Policy,
    TaskCancelled,
    TaskEvent,
    TaskExpired,
    TaskFailed,
    TaskLost,
    TaskRetried,
    TaskStarted,
    TaskSubmitted,
    TaskSucceeded,
)
from daybook.domain.status import TERMINAL, Status
from daybook.domain.task import Task, decide, evolve, fold
from daybook.testing import NOON

CONTENT: Final = Content(digest="aa" * 32, size_bytes=2)
START: Final = Start(actor="r", runner="r")
MARK_DUE: Final = MarkDue(actor="s", causation="evt")
FACTS: Final = msgspec.json.Decoder(AnyTaskEvent)
NOT_THEIR_OWN: Final = {TaskFailed: {"reason"}, TaskExpired: {"reason"}, TaskCancelled: {"reason"}}
"""What a fact says otherwise than the command that led to it may; it is foreseen instead."""

End: TypeAlias = TaskSucceeded | TaskFailed | TaskLost | TaskExpired | TaskCancelled

POLICIES: Final = (
    Policy(),
    Policy(max_attempts=2, backoff_seconds=60.0, max_losses=2, timeout_seconds=30.0),
    Policy(max_attempts=3, delivery="at_most_once", queue_ttl_seconds=90.0),
    Policy(max_attempts=9, max_losses=1, backoff_seconds=40.0, non_retryable=("Hopeless",), queue_ttl_seconds=60.0, deadline_seconds=150.0),
)

minutes = st.integers(-4, 4).map(lambda number: number * MINUTE / 2)
delays = st.none() | minutes
# The database reads its clock when it records, which is later than when it was decided.
lags = st.sampled_from([timedelta(), timedelta(milliseconds=1), 20 * SECOND])
# Mostly the attempt that counts, so that stories get somewhere; otherwise one before or after it.
offsets = st.sampled_from([0, 0, 0, -1, -2, 1])
limits = st.none() | st.sampled_from([0.5, 30.0, 60.0, 150.0])
policies = st.sampled_from(POLICIES) | st.builds(
    Policy,
    max_attempts=st.integers(1, 4),
    timeout_seconds=limits,
    delivery=st.sampled_from(["at_least_once", "at_least_once", "at_most_once"]),
    max_losses=st.integers(0, 4),
    backoff_seconds=st.sampled_from([0.0, 1.0, 60.0]),
    backoff_factor=st.sampled_from([1.0, 2.0, 8.0]),
    backoff_max_seconds=st.sampled_from([30.0, 300.0]),
    non_retryable=st.sampled_from([(), ("Hopeless",)]),
    queue_ttl_seconds=limits,
    deadline_seconds=limits,
)


def submit(now: datetime, delay: timedelta | None, policy: Policy = POLICIES[0]) -> Submit:
    run_at = None if delay is None else now + delay
    return Submit(actor="ann", owner="ann", app="a", app_version="v", input=CONTENT, run_at=run_at, policy=policy, fingerprint="f")


def about_attempt(attempt: int) -> list[AnyCommand]:
    """Everything that may be said about how an attempt ended."""
    failed = Fail(actor="r", attempt=attempt, error=CONTENT, error_type="E", seed="tsk_1")
    return [
        Succeed(actor="r", attempt=attempt, result=CONTENT),
        failed,
        replace(failed, error_type="Hopeless", reason="no"),
        replace(failed, retryable=False),
        replace(failed, retry_after_seconds=100.0),
        Release(actor="r", attempt=attempt, reason="draining"),
        ConfirmCancel(actor="r", attempt=attempt, correlation="c"),
        Lose(actor="reaper", attempt=attempt, reason="lost_runner", seed="tsk_1"),
    ]


def everything(run_at: datetime, attempt: int) -> list[AnyCommand]:
    """One of each command, and some of them more than once."""
    return [
        *about_attempt(attempt),
        submit(run_at, timedelta()),
        Reschedule(actor="ann", reason="rain", run_at=run_at),
        MARK_DUE,
        START,
        Expire(actor="s"),
        Retry(actor="ann", reason="mended"),
        Cancel(actor="bob", reason="enough"),
        Cancel(actor="bob"),
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

    @property
    def limits(self) -> list[datetime]:
        """The instants at which something becomes possible or impossible."""
        task = self.task
        found = (task.run_at, task.expires_at, task.deadline_at, task.overdue_at) if task else ()
        return sorted({limit for limit in found if limit is not None})

    def obey(self, command: AnyCommand, now: datetime, lag: timedelta = timedelta()) -> "Ledger":
        """Decide and, where that makes an event, append it as the log would: encoded, as the next version."""
        answer = decide(self.task, command, now)
        expected = foresee(self.log, command, now)
        assert expected.fits(answer), f"{command} at {now}: foreseen was {expected}, answered was {answer}"
        assert decide(self.task, command, now) == answer
        if not isinstance(answer, TaskEvent):
            return self
        for field in set(command.__struct_fields__) & set(answer.__struct_fields__) - NOT_THEIR_OWN.get(type(answer), set()):
            assert getattr(answer, field) == getattr(command, field)
        task = evolve(self.task, answer, now + lag)
        assert task.attempt == self.attempt + isinstance(answer, TaskStarted)
        log = (*self.log, (FACTS.decode(msgspec.json.encode(answer)), now + lag))
        reported = (command.attempt,) if isinstance(command, Report) else ()
        return Ledger(log, task, self.reported + reported)

    def check_history(self) -> None:
        """The log folds to the task, goes on after an end only when somebody wants that, and counts its attempts."""
        assert fold(self.log) == self.task
        assert (self.task.version if self.task else 0) == len(self.log)
        past = [Past(self.log[:length]) for length in range(1, len(self.log) + 1)]
        assert [isinstance(fact, TaskSubmitted) for fact in self.facts] == [number == 0 for number in range(len(self.facts))]
        for before, fact in zip(past, self.facts[1:], strict=False):
            assert before.ended == isinstance(fact, TaskRetried), "only a new round follows an end, and nothing else begins one"
        assert bool(past and past[-1].ended) == (self.task is not None and self.task.status in TERMINAL)
        started = [fact.attempt for fact in self.facts if isinstance(fact, TaskStarted)]
        assert started == list(range(1, len(started) + 1))
        assert len(self.reported) == len(set(self.reported)), "an attempt was reported about twice"
        assert set(self.reported) <= set(started)

    def check_state(self) -> None:
        """No field of the task contradicts its status, and its status is what the facts say."""
        task = self.task
        if task is None:
            return
        past = Past(self.log)
        assert (task.status is Status.RUNNING, task.status is Status.QUEUED, task.status in TERMINAL) == (past.running, past.queued, past.ended)
        assert (task.status is Status.SUCCESS) == isinstance(past.last, TaskSucceeded) == (task.result is not None)
        assert (task.status is Status.CANCELLED) == isinstance(past.last, TaskCancelled)
        assert (task.failures, task.losses, task.attempt, task.deadline_at) == (past.failures, past.losses, past.attempt, past.deadline)
        assert task.failures <= task.policy.max_attempts
        assert task.losses <= task.policy.max_losses + 1
        assert (task.finished_at is not None) == (task.status in TERMINAL)
        assert task.error is None or task.error_type
        assert task.error_type or task.status is not Status.ERROR
        assert task.run_at is not None or task.status is not Status.SCHEDULED
        assert task.attempt > 0 or task.status not in (Status.RUNNING, Status.SUCCESS)
        assert (task.attempt > 0) == bool(task.runner) == (task.started_at is not None)
        assert task.cancel_requested == (past.wish is not None) or task.status is not Status.RUNNING


class TaskMachine(RuleBasedStateMachine):
    """One ledger at a time, and everybody who wants something. When a task has ended, another one may begin."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.ledger = Ledger()

    @initialize(delay=delays, policy=policies, lag=lags)
    def first(self, delay: timedelta | None, policy: Policy, lag: timedelta) -> None:
        self.ledger = Ledger().obey(submit(self.now, delay, policy), self.now, lag)

    @precondition(lambda self: self.ledger.task and self.ledger.task.status in TERMINAL)
    @rule(delay=delays, policy=policies, lag=lags)
    def another(self, delay: timedelta | None, policy: Policy, lag: timedelta) -> None:
        self.ledger = Ledger().obey(submit(self.now, delay, policy), self.now, lag)

    @rule(step=minutes, which=st.integers(0, 7))
    def time_passes_or_a_clock_is_set_back(self, step: timedelta, which: int) -> None:
        """Often to one of the limits, or half a minute around it."""
        self.now = next(iter(self.ledger.limits[which : which + 1]), self.now) + step

    @rule(which=st.integers(0, 15), delay=minutes, offset=offsets, lag=lags)
    def somebody_wants_something(self, which: int, delay: timedelta, offset: int, lag: timedelta) -> None:
        wish = everything(self.now + delay, self.ledger.attempt + offset)[which]
        self.ledger = self.ledger.obey(wish, self.now, lag)

    @rule(which=st.integers(0, 7), delay=minutes, lag=lags)
    def somebody_wants_what_is_possible(self, which: int, delay: timedelta, lag: timedelta) -> None:
        """Blind wishes are mostly refused; this one carries the story further."""
        wishes = everything(self.now + delay, self.ledger.attempt)
        possible = [wish for wish in wishes if issubclass(foresee(self.ledger.log, wish, self.now).kind, TaskEvent)]
        for wish in possible[which : which + 1]:
            self.ledger = self.ledger.obey(wish, self.now, lag)

    @invariant()
    def the_log_is_a_history_that_can_be(self) -> None:
        self.ledger.check_history()

    @invariant()
    def the_state_makes_sense(self) -> None:
        self.ledger.check_state()


TestTask = TaskMachine.TestCase
TestTask.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def continuations(ledger: Ledger, now: datetime) -> list[tuple[Ledger, datetime]]:
    """Every way on: each command, for a time just past or still ahead, about this attempt or its neighbours; and to wait
    for the next instant that makes a difference."""
    wishes = everything(now - MINUTE, ledger.attempt)
    wishes.append(Reschedule(actor="ann", run_at=now + MINUTE))
    wishes += about_attempt(ledger.attempt - 1) + about_attempt(ledger.attempt + 1)
    after = [(ledger.obey(wish, now), now) for wish in wishes]
    later = [limit for limit in ledger.limits if limit > now]
    return [longer for longer in after if longer[0] is not ledger] + [(ledger, limit) for limit in later[:1]]


def outlook(story: tuple[Ledger, datetime]) -> tuple[object, ...]:
    """All that either book goes by. What has the same outlook has the same continuations, however it came to be."""
    ledger, now = story
    assert ledger.task
    past = Past(ledger.log)
    read = (past.wish, past.last, past.attempt, past.failures, past.losses, past.deadline)
    return msgspec.json.encode((replace(ledger.task, version=0, reason=""), *read)), now


@pytest.mark.parametrize("policy", POLICIES)
def test_every_short_story(policy: Policy) -> None:
    beginnings = [submit(NOON, delay, policy) for delay in (None, -MINUTE, MINUTE)]
    stories = [(Ledger().obey(beginning, NOON), NOON) for beginning in beginnings]
    seen = set(map(outlook, stories))
    for _ in range(6):
        stories = [longer for story in stories for longer in continuations(*story)]
        stories = list({outlook(story): story for story in stories}.values())
        stories = [story for story in stories if outlook(story) not in seen]
        seen |= set(map(outlook, stories))
        for ledger, _ in stories:
            ledger.check_history()
            ledger.check_state()
    assert stories
