"""Whatever happens to a schedule, and whenever somebody looks: every slot ends up in the ledger, once, in order, and says why."""

from datetime import datetime, timedelta
from itertools import cycle
from typing import Any, Final, TypeAlias

from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.domain.clockwork import World, after_a_while
from tests.domain.schedules import HOUR, OTHER_INPUT, SECOND, WORK, created, rule, task_of

from daybook.domain.schedule_commands import BackfillSchedule, ChangeSchedule, DeleteSchedule, PauseSchedule, ResumeSchedule, TriggerSchedule
from daybook.domain.schedule_events import Rule, Work
from daybook.domain.status import Status
from daybook.testing import NOON

BERLIN: Final = (datetime.fromisoformat("2026-03-27T20:15:07.25Z"), datetime.fromisoformat("2026-10-23T20:15:07.25Z"))
"""Two nights before clocks go forward there, and back."""
Step: TypeAlias = tuple[str, float]

PACES: Final = {
    "* * * * * *": 1.0,
    "*/5 * * * * *": 5.0,
    "7/20 * * * * *": 20.0,
    "* * * * *": 60.0,
    "*/3 * * * *": 180.0,
    "0,30 * * * *": 1800.0,
}
DAILY: Final = ("30 2 * * *", "0 9 * * *", "15 1,2,3 * * *")

jobs = st.lists(
    st.tuples(st.sampled_from([0.0, 0.2, 0.9, 3.0, 30.0, 400.0]), st.sampled_from([Status.SUCCESS, Status.SUCCESS, Status.ERROR, Status.CANCELLED])),
    min_size=1,
    max_size=5,
)


@st.composite
def rules(draw: st.DrawFn, pace: float, begin: datetime, crons: list[tuple[str, str]]) -> Rule:
    cron, timezone = draw(st.sampled_from(crons))
    bounds = st.sampled_from([None, None, None, None, 0.0, 2.5, 10.0, 40.0]).map(
        lambda periods: None if periods is None else begin + timedelta(seconds=periods * pace)
    )
    found = rule(
        cron,
        timezone,
        overlap=draw(st.sampled_from(["skip", "queue_one", "queue_all", "cancel_previous", "allow"])),
        catch_up=draw(st.sampled_from(["none", "latest", "all"])),
        catch_up_window_seconds=draw(st.sampled_from([3600.0, 86400.0, 0.0, 30.0, 600.0, 3600.0, 86400.0])),
        jitter_seconds=draw(st.sampled_from([0.0, 0.0, 0.7, 20.0])),
        start_at=draw(bounds),
        end_at=draw(bounds),
        max_runs=draw(st.sampled_from([None, None, None, None, None, 1, 5])),
        pause_after_errors=draw(st.sampled_from([None, None, None, None, 1, 2])),
    )
    gap, fold = draw(st.sampled_from(["next", "skip"])), draw(st.sampled_from(["once", "twice"]))
    return replace(found, cadence=replace(found.cadence, dst_gap=gap, dst_fold=fold))


periods = st.sampled_from([0.0, 0.3, 1.0, 2.5, 7.0, 20.0])
outages = st.sampled_from([1.0, 9.0, 12.0, 61.0, 700.0, 4000.0, 3 * 3600.0])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("up"), periods),
        st.tuples(st.just("down"), outages),
        st.tuples(st.sampled_from(["pause", "resume", "change", "reshape", "trigger", "backfill", "crash"]), periods),
    ),
    min_size=6,
    max_size=20,
)
slowness = st.sampled_from([0.0, 0.0, 0.01, 0.4, 2.5])


def play(world: World, script: list[Step], pace: float, others: list[Rule]) -> None:
    """Let it happen."""
    for index, (step, number) in enumerate(script):
        match step:
            case "up":
                world.up(timedelta(seconds=number * pace))
            case "down":
                world.down(timedelta(seconds=max(number, 3 * pace) if pace > HOUR.total_seconds() else number))
            case "crash":
                world.crash()
            case _:
                command(world, step, number * pace, others[index % len(others)])
        world.rival(index % 4)


def command(world: World, name: str, seconds: float, other: Rule) -> None:
    said: dict[str, Any] = {"actor": "ann"}
    now = world.now
    match name:
        case "pause":
            world.tell(PauseSchedule(until=None if seconds == 0 else now + timedelta(seconds=seconds), **said))
        case "resume":
            world.tell(ResumeSchedule(**said))
        case "change":
            world.tell(ChangeSchedule(rule=other, work=WORK, **said))
        case "reshape":
            world.tell(ChangeSchedule(rule=other, work=Work(app="other", app_version="v2", input=OTHER_INPUT), **said))
        case "trigger":
            # Two at the same instant would be one task.
            at = now.replace(microsecond=now.microsecond or 1) + len(world.jobs) * timedelta(microseconds=1)
            world.tell(TriggerSchedule(at=at, task=task_of(at), **said))
        case _:
            there = {job.slot for job in world.jobs}
            undone = [slot for slot, event in world.audit().outcomes.items() if slot not in there]
            world.tell(BackfillSchedule(slots=tuple(undone[-int(seconds) % 7 :][:5]), **said))


# To make a story shorter takes minutes, and they are short.
@settings(max_examples=100, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(data=st.data())
def test_every_slot_is_decided_once_and_in_order_whatever_happens(data: st.DataObject) -> None:
    if data.draw(st.integers(0, 5), label="every few days") == 0:
        begin, pace = data.draw(st.sampled_from(BERLIN), label="begin"), 86400.0
        crons = [(cron, "Europe/Berlin") for cron in data.draw(st.permutations(DAILY), label="cadences")]
    else:
        cron = data.draw(st.sampled_from(list(PACES)))
        begin, pace, crons = NOON + timedelta(seconds=0.25), PACES[cron], [(each, "UTC") for each in PACES if PACES[each] >= PACES[cron]]
    of = data.draw(rules(pace, begin, crons[:1]), label="rule")
    others = data.draw(st.lists(rules(pace, begin, crons), min_size=1, max_size=3), label="other rules")
    lasts = cycle([(timedelta(seconds=seconds * min(max(1.0, pace / 60), 30.0)), status) for seconds, status in data.draw(jobs, label="jobs")])
    seconds = [timedelta(seconds=data.draw(slowness, label=label)) for label in ("slow", "behind", "lag")]
    world = World(created(of), begin, job=lambda: next(lasts), slow=seconds[0], behind=min(seconds[1], SECOND), lag=min(seconds[2], SECOND / 50))
    script = data.draw(steps, label="script")
    play(world, script, pace, others)
    if data.draw(st.booleans(), label="deleted"):
        world.tell(DeleteSchedule(actor="ann"))
    elif world.schedule.paused_at is not None and world.schedule.paused_until is None:
        world.tell(ResumeSchedule(actor="ann"))
    after_a_while(world)
    world.check_outages()
    world.check_snapshot(data.draw(st.integers(1, 40), label="cut"))
    if world.schedule.paused_at is None:
        assert not world.left()
        assert not world.schedule.backlog
