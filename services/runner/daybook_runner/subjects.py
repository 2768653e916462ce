"""Which subjects a NATS app may send requests to: patterns as NATS has them, and templates that cannot leave theirs.

It refuses Daybook's own subjects, NATS's (`$JS`, `$SYS`, …) and inboxes, whoever permits them, and a value that would
be more than a part of one token.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from .templates import render, sole_variable

_TOKEN: Final = re.compile(r"[^\s.*>\x00-\x1f\x7f]+")
_HOLE: Final = re.compile(r"\{\{[^{}]*\}\}")
_SUBJECT_LENGTH: Final = 500


def parse_patterns(text: str) -> tuple[str, ...]:
    """The patterns of subjects in a setting, joined by commas. Raises ValueError for one that is none, and for one
    that names what is never permitted."""
    patterns = tuple(each.strip() for each in text.split(",") if each.strip())
    for pattern in patterns:
        check_pattern(pattern)
    return patterns


def check_pattern(pattern: str) -> None:
    """Raises ValueError unless requests may be sent to something that matches this."""
    *others, last = pattern.split(".")
    if not all(each == "*" or _TOKEN.fullmatch(each) for each in others) or not (last in ("*", ">") or _TOKEN.fullmatch(last)):
        raise ValueError(f"{pattern!r} is not a pattern of subjects, such as greet.* or orders.>")
    if is_forbidden(pattern):
        raise ValueError(f"{pattern!r} is not for apps: it belongs to Daybook or to NATS")


def check_subject(template: str, allow: tuple[str, ...]) -> None:
    """Raises ValueError for a template whose subjects could be anything."""
    for pattern in allow:
        check_pattern(pattern)
    if not all(_TOKEN.fullmatch(token) for token in _HOLE.sub("x", template).split(".")):
        raise ValueError(f"subject: {template!r} is not a subject")
    if not allow and "{{" in template.partition(".")[0]:
        raise ValueError("subject: write out its first token, or list in allow what it may be")
    if is_forbidden(template):
        raise ValueError(f"subject: {template!r} is not for apps: it belongs to Daybook or to NATS")


def fill_subject(template: str, values: Mapping[str, Any]) -> str:
    """The subject that the template stands for. Raises MissingVariable, and ValueError for a value that would be more
    than (a part of) a token; one that is the whole subject may have several."""
    is_whole = sole_variable(template) is not None
    for hole in _HOLE.findall(template):
        value = render(hole, values)
        if not all(_TOKEN.fullmatch(token) for token in (value.split(".") if is_whole else (value,))):
            raise ValueError(f"{value[:100]!r} cannot be {'a' if is_whole else 'part of a'} subject")
    subject = render(template, values)
    if len(subject) > _SUBJECT_LENGTH:
        raise ValueError(f"a subject has at most {_SUBJECT_LENGTH} characters")
    return subject


def is_forbidden(subject: str) -> bool:
    """Whether a subject (or pattern) is Daybook's, NATS's, or somebody's inbox."""
    first = subject.partition(".")[0]
    return first == "daybook" or first.startswith(("$", "_"))


def matches(pattern: str, subject: str) -> bool:
    """Whether a subject matches a pattern, as NATS has it."""
    wanted, given = pattern.split("."), subject.split(".")
    for position, each in enumerate(wanted):
        if each == ">":
            return len(given) > position
        if position >= len(given) or each not in ("*", given[position]):
            return False
    return len(given) == len(wanted)
