"""Every statement of every `.sql` file of the house fits the schema; none is there for nothing."""

from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

from daybook.log.connections import Connection
from daybook.log.sql import statements

HOUSE = Path(__file__).parents[2]
PACKAGES = ("daybook.log", "daybook.projections", "daybook_runner")
STATEMENTS = [(package, name) for package in PACKAGES for name in statements(package)]


@pytest.mark.parametrize("package", PACKAGES)
async def test_every_statement_can_be_prepared(package: str, owner: Connection) -> None:
    for name, statement in statements(package).items():
        try:
            await owner.prepare(statement)
        except asyncpg.PostgresError as error:
            pytest.fail(f"{package}: {name}: {error}")


async def test_what_is_due_is_found_without_a_look_at_what_is_not(owner: Connection) -> None:
    plan = await owner.fetch("EXPLAIN " + statements("daybook.projections")["due_timers"].replace("$1", "500"))
    assert any("Index Cond" in row[0] and "due_at" in row[0] for row in plan), "\n".join(row[0] for row in plan)


def test_no_file_of_statements_is_left_out() -> None:
    found = {path.parent.name for place in ("shared", "services") for path in (HOUSE / place).rglob("queries.sql")}
    assert found == {package.rpartition(".")[2] for package in PACKAGES}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_statement_is_used(package: str) -> None:
    source = "\n".join(path.read_text() for place in ("shared", "services") for path in (HOUSE / place).rglob("*.py"))
    unused = [name for name in statements(package) if f'"{name}"' not in source and not name.startswith("append_")]
    assert unused == []


def test_a_name_that_is_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "twice_named"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "queries.sql").write_text("-- name: one\nSELECT 1;\n\n-- name: one\nSELECT 2;\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert files("twice_named").joinpath("queries.sql").is_file()
    with pytest.raises(ValueError, match="names one twice"):
        statements("twice_named")
