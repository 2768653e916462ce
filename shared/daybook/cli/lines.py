"""How log lines look: one line of plain text each as they come, or the JSON of the API."""

from collections.abc import Iterable

import msgspec

from daybook.client.models import LogLine, LogPage

from .options import Output
from .printing import chosen, print_many
from .wording import clean


def print_lines(output: Output | None, pages: Iterable[bytes]) -> None:
    """Print pages of log lines, each page as it comes unless they make one JSON document."""
    if chosen(output) != "table":
        print_many(output, pages, str)
        return
    attempt = 1
    for body in pages:
        for line in msgspec.json.decode(body, type=LogPage).items:
            if line.attempt != attempt:
                attempt = line.attempt
                print(f"--- attempt {attempt}")
            print(_shown(line), flush=True)


def _shown(line: LogLine) -> str:
    """`10:00:00.123 warning resized n=1`, at the time of this machine."""
    at = line.at.astimezone().strftime("%H:%M:%S.%f")[:-3]
    # A traceback is for reading; what else stands in a field is not to break the line.
    trace = line.fields.get("exception")
    fields = " ".join(f"{name}={value}" for name, value in line.fields.items() if name != "exception")
    told = clean(f"{at} {line.level:<7} {line.message} {' '.join(fields.split())}").rstrip()
    return f"{told}\n{clean(str(trace))}" if trace else told
