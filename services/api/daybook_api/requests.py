"""What a request says beside its path and its body: query parameters, media type, preferences, preconditions. Refuses,
by name, what it does not know or cannot read."""

import re
from typing import Final, TypeAlias
from urllib.parse import parse_qsl

from litestar import Request
from litestar.datastructures import State

from .problems import Problem

HttpRequest: TypeAlias = Request[None, None, State]

_LONGEST_WAIT_SECONDS: Final = 60
_MOST_PARAMETERS: Final = 100
_VERSION: Final = re.compile(r'"[0-9]{1,9}"|[0-9]{1,9}')


def query(request: HttpRequest, known: frozenset[str] = frozenset(), repeatable: frozenset[str] = frozenset()) -> dict[str, list[str]]:
    """The query parameters: each of them known, text that can be stored, and given once unless it is `repeatable`.
    Raises problems that name the parameter."""
    encoded = request.scope["query_string"]
    if not encoded:
        return {}
    try:
        pairs = parse_qsl(encoded.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise Problem("invalid-request", "The query is not text that can be read.") from None
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in known and name not in repeatable:
            names = ", ".join(sorted(known | repeatable))
            raise refused(name, "is not known", hint=f"The parameters are {names}." if names else "There are no parameters here.")
        if name in given and name not in repeatable:
            raise refused(name, "is given twice")
        if "\0" in value:
            raise refused(name, "holds a NUL character")
        given.setdefault(name, []).append(value)
    return given


def refused(parameter: str, why: str, *, hint: str | None = None) -> Problem:
    """The problem with a query parameter. It is named in words: a JSON pointer would lead into a body."""
    return Problem("invalid-request", f"The parameter {parameter!r} {why}.", hint=hint)


def media_type(request: HttpRequest, *known: str) -> str:
    """The body's media type, which must be one of `known`; nothing said means the first of them. Raises `unsupported-media-type`."""
    said = request.headers.getall("content-type", ())
    if not said:
        return known[0]
    name = said[0].partition(";")[0].strip().lower()
    if len(said) > 1 or name not in known:
        raise Problem("unsupported-media-type", f"Send {' or '.join(known)}, and say so once.")
    return name


def if_match(request: HttpRequest) -> int | None:
    """The version that `If-Match` asks for; None for any. Raises a problem for what is neither."""
    header = request.headers.get("if-match")
    if header is None or header == "*":
        return None
    found = _VERSION.fullmatch(header)
    if found is None:
        raise Problem("invalid-request", 'If-Match is a version in quotes, such as "3".')
    return int(found[0].strip('"'))


def preferred_wait(request: HttpRequest) -> float | None:
    """The seconds of `Prefer: wait=N` (RFC 7240), at most 60; None when waiting is not preferred (or not said in a way
    that can be read)."""
    header = request.headers.get("prefer")
    if header is None:
        return None
    for preference in header.split(","):
        name, _, value = preference.partition("=")
        if name.strip().lower() == "wait":
            bare = value.partition(";")[0].strip().strip('"')
            if bare.isascii() and bare.isdigit() and len(bare) < 6:
                return float(min(int(bare), _LONGEST_WAIT_SECONDS))
    return None


def accepts(request: HttpRequest, media_type: str) -> bool:
    """Whether the client names this very media type among those it accepts."""
    header: str = request.headers.get("accept", "")
    return any(part.partition(";")[0].strip().lower() == media_type for part in header.split(","))
