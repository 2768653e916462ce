"""What this scheduler cannot decide, or cannot read, since somebody newer made it, keeps nobody else's timers from firing."""

from __future__ import annotations

from uuid import UUID

import pytest
from tests.bus.parts import kinds_of, submit
from tests.scheduler.schedules import EVERY_SECOND, create, fired, has_fired, state, tasks_of
from tests.services import running_scheduler

from daybook import clock, ids
from daybook.log.connections import Connection
from daybook.log.postgres import Log
from daybook.settings import Settings
from daybook.testing import eventually


@pytest.mark.parametrize("wrong", ['"timezone":"Mars/Olympus"', '"cron":"61 * * * * *"'])
async def test_it_waits_alone(settings: Settings, log: Log, owner: Connection, wrong: str) -> None:
    async with running_scheduler(settings):
        strange, healthy = await create(log, overlap="allow"), await create(log, overlap="allow")
        await has_fired(log, strange, 1)
        await make_strange(owner, strange, wrong)
        task = await submit(log, run_at=clock.after(0.2))
        await has_fired(log, healthy, len(await fired(log, healthy)) + 2)
        await eventually(lambda: is_due(log, task))
        assert (await state(log, strange)).rule.cadence == EVERY_SECOND


async def test_a_task_that_cannot_be_read_keeps_only_its_place(settings: Settings, log: Log, owner: Connection) -> None:
    async with running_scheduler(settings):
        strange, healthy = await create(log, overlap="cancel_previous"), await create(log, overlap="allow")
        await has_fired(log, strange, 1)
        task = (await tasks_of(log, strange))[-1]
        await eventually(lambda: log.load(task))
        await owner.execute(
            "SELECT log._append(log._take_lane(), ARRAY[$1::uuid], ARRAY[2], ARRAY[$2::uuid], ARRAY['task.dreamt.v9'], ARRAY['default'], ARRAY['{}'::json],"
            " ARRAY[NULL::bytea])",
            task,
            ids.new_id(),
        )
        await has_fired(log, healthy, len(await fired(log, healthy)) + 3)
        await has_fired(log, strange, 3)


async def make_strange(owner: Connection, stream: UUID, wrong: str) -> None:
    """As if the schedule's timer had been written by a newer scheduler."""
    field = wrong.split(":", maxsplit=1)[0]
    query = f"""UPDATE read.timer SET state = jsonb_set(state::jsonb, '{{schedule,rule,cadence,{field.strip('"')}}}', $2::text::jsonb)::json WHERE id = $1"""
    await owner.execute(query, stream, wrong.split(":", maxsplit=1)[1])


async def is_due(log: Log, task: UUID) -> bool:
    return await kinds_of(log, task) == ["submitted", "due"]
