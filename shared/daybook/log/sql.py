"""Loads the named statements of a `.sql` file: one statement each, under a line `-- name: this_one`."""

from functools import cache
from importlib.resources import files


@cache
def statements(package: str, file: str = "queries.sql") -> dict[str, str]:
    """The statements of a package's SQL file, by name. A name given twice is an error."""
    found: dict[str, str] = {}
    for block in files(package).joinpath(file).read_text("utf-8").split("-- name: ")[1:]:
        name, _, body = block.partition("\n")
        if name.strip() in found:
            raise ValueError(f"{package}/{file} names {name.strip()} twice")
        # What follows the last semicolon is the comment on the next statement.
        found[name.strip()] = body.rpartition(";")[0].strip()
    return found
