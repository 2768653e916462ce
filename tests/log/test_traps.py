"""Functions that act as the owner run nothing of their caller's."""

from collections.abc import Callable

import asyncpg
import pytest
from tests.log.samples import SUBMITTED, admit_guest, append_of, publish_app, send, started

from daybook import ids
from daybook.log.connections import Connection

TRAPS = ("bytea", "json", "jsonb", "uuid", "text", "int4", "int8", "bool", "name", "timestamptz")
TRAP = """
CREATE FUNCTION pg_temp.trap(value pg_catalog.{name}) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO public.booty VALUES (current_user); RETURN true; END $$;
CREATE DOMAIN pg_temp.{name} AS pg_catalog.{name} CHECK (pg_temp.trap(VALUE))
"""
ROW = """
    ARRAY['{stream}']::pg_catalog.uuid[], ARRAY[{version}]::pg_catalog.int4[], ARRAY['{id}']::pg_catalog.uuid[], ARRAY['{kind}']::pg_catalog.text[],
    ARRAY['default']::pg_catalog.text[], ARRAY['{data}']::pg_catalog.json[], ARRAY['']::pg_catalog.bytea[]
"""


@pytest.mark.parametrize("role", ["daybook_guest", "daybook_runner", "daybook_api"])
async def test_a_function_of_the_owner_uses_no_type_of_its_caller(role: str, url_as: Callable[[str], str], owner: Connection) -> None:
    """Whoever may make temporary objects can name one like a type of the system, and put a function of his own behind it."""
    await publish_app(owner)
    await admit_guest(owner)
    task = append_of(ids.new_id(), 1, SUBMITTED)
    await send(owner, "api", [task])
    await owner.execute("CREATE TABLE public.booty (who text); GRANT INSERT ON public.booty TO PUBLIC")
    caller = await asyncpg.connect(url_as(role))
    for name in TRAPS:
        await caller.execute(TRAP.format(name=name))
    if role == "daybook_guest":
        await caller.execute("SELECT daybook.submit_task('hello', input => '{}', key => 'k', labels => '{}', run_at => pg_catalog.now())")
    elif role == "daybook_api":
        row = append_of(ids.new_id(), 1, SUBMITTED)
        await caller.execute(f"SELECT log.append_api({ROW.format(**row._asdict() | {'data': row.data.decode()})})")
    else:
        row = append_of(task.stream, 2, started("r1"))
        await caller.execute("SELECT daybook.take_lease('r1', 'secret', 'default', '{default}', '{}', 1, 'host', interval '1 minute')")
        await caller.execute("SELECT daybook.renew_lease('r1', 'secret', interval '1 minute')")
        await caller.execute(f"SELECT log.append_runner('r1', 'secret', {ROW.format(**row._asdict() | {'data': row.data.decode()})})")
    await caller.close()
    assert await owner.fetch("SELECT * FROM public.booty") == []


async def test_every_function_that_acts_as_the_owner_says_so_safely(owner: Connection) -> None:
    functions = await owner.fetch(
        "SELECT p.oid::regproc::text AS name, p.proconfig FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace"
        " WHERE p.prosecdef AND n.nspname IN ('log', 'daybook', 'read')"
    )
    assert len(functions) >= 8
    unsafe = [row["name"] for row in functions if "search_path=pg_catalog, pg_temp" not in (row["proconfig"] or [])]
    assert unsafe == []
