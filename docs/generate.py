"""Writes the pages that are made from the code, so that they cannot say anything else than the code does.

python docs/generate.py            write them
python docs/generate.py --check    write nothing; exit 1 and name the pages that are stale
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from daybook.domain.events import kind_of
from daybook.domain.status import TABLE, Status, diagram

FOLDER: Final = Path(__file__).resolve().parent

_STATE_MACHINE: Final = """\
# The states of a task

A task is in one of six statuses, and only an event moves it. The table below is the whole of it: an event that is not \
allowed in a task's status is refused before it is written. Nuance (why it failed, \
who cancelled it) is the reason of the event, never a seventh status.

```mermaid
{diagram}```

| event | kind | when | allowed in | leads to |
|---|---|---|---|---|
{rows}

A task begins with `TaskSubmitted`; nothing follows `success`, `error` or `cancelled`. A task that runs is cancelled in two \
steps: `TaskCancelRequested` asks its runner, and it stays `running` until the runner reports how it ended.

*Made from `daybook.domain.status` by `docs/generate.py`.*
"""


def state_machine() -> str:
    """The page about the transition table."""
    order: list[Status | None] = [None, *Status]
    rows = []
    for row in TABLE:
        starts = ", ".join("(nothing)" if start is None else f"`{start}`" for start in sorted(row.allowed, key=order.index))
        rows.append(f"| `{row.event.__name__}` | `{kind_of(row.event)}` | {row.label} | {starts} | `{row.to}` |")
    return _STATE_MACHINE.format(diagram=diagram(), rows="\n".join(rows))


PAGES: Final[dict[str, Callable[[], str]]] = {"explanation/state_machine.md": state_machine}


def main(arguments: list[str]) -> int:
    """Write or check every page; the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    pages = {FOLDER / name: page() for name, page in PAGES.items()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if not arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pages[path], encoding="utf-8")
        print(f"{'stale' if arguments else 'written'}: {path.relative_to(FOLDER.parent)}")
    return 1 if arguments and stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
