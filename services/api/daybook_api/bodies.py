"""Bodies: from bytes to values, or to a problem that says where the fault lies.

Refused here is what a reader would choke on later: bytes that are not UTF-8, the character NUL and lone surrogates
(Postgres has no place for them), NaN, the infinities and numbers beyond a double (JSON has none), nesting beyond 64
levels. A good body pays for one decoding and two scans in C; only a bad one is taken apart to find the spot.
"""

import json
import math
import re
from collections.abc import Callable, Iterator
from itertools import accumulate, compress, islice
from typing import Any, Final, TypeVar

import msgspec

from daybook.safe_json import is_deeper, safe_text

from .problems import Problem, Spot

Decoded = TypeVar("Decoded")

_DEPTH: Final = 64
_MESSAGE: Final = re.compile(r"(?P<what>.*?)(?: - at (?:`key` in )?`(?P<path>\$[^`]*)`)?", re.DOTALL)
_UNKNOWN: Final = "Object contains unknown field `"
_STEPS: Final = bytes.maketrans(b"[{]},", b"\x01\x01\xff\xff\x00")
_COMMAS: Final = bytes(byte == ord(",") for byte in range(256))
_NOT_SIGNS: Final = bytes(set(range(256)) - set(b"[]{},"))
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_VALUES: Final = msgspec.json.Decoder()
_ITEMS: Final = msgspec.json.Decoder(list[msgspec.Raw])


def decode(decoder: "msgspec.json.Decoder[Decoded]", body: bytes) -> Decoded:
    """A body by its decoder. Raises problems, with a JSON pointer to the spot wherever there is one."""
    try:
        body.decode()
        decoded = decoder.decode(body)
    except UnicodeDecodeError as error:
        raise Problem("malformed-json", f"The body is not UTF-8: {error.reason} at byte {error.start}.") from None
    except msgspec.ValidationError as error:
        raise _unfit(str(error)) from None
    except msgspec.DecodeError as error:
        raise _malformed(body, str(error)) from None
    except RecursionError:
        raise _too_deep("") from None
    if b"\\u0000" in body:
        _refuse_nul(body)
    if is_deeper(body, _DEPTH):
        raise _too_deep(_find(body, lambda _, depth: depth > _DEPTH) or "")
    return decoded


def split_array(body: bytes, most: int) -> list[bytes]:
    """The items of a JSON array, still unread: a bad one costs itself alone, unless nobody can say where it ends.
    Raises problems; `too-large` for more than `most`."""
    # Counted before they are made: a body of tiny items would become a hundred times its size.
    if body.count(b",") >= most and _has_more_items(body, most):
        raise too_many(most)
    try:
        return [bytes(item) for item in _ITEMS.decode(body)]
    except msgspec.ValidationError:
        raise Problem("invalid-body", "The body is an array.", errors=[Spot(pointer="", message="is not an array")]) from None
    except msgspec.DecodeError as error:
        raise _malformed(body, str(error)) from None
    except RecursionError:
        raise _too_deep("") from None


def split_lines(body: bytes, most: int) -> list[bytes]:
    """The lines of an NDJSON body that are not blank, still unread. Raises `too-large` for more than `most`."""
    if body.count(b"\n") > 2 * most:
        raise too_many(most)
    lines = [line for line in body.split(b"\n") if not line.isspace() and line]
    if len(lines) > most:
        raise too_many(most)
    return lines


def too_many(most: int) -> Problem:
    """The problem with a batch of more items than that."""
    return Problem("too-large", f"A batch may hold {most} tasks.")


def decode_part(content: bytes, pointer: str) -> Any:
    """The value of a part of a body that `decode` has passed over unread; it lies at `pointer`. Raises problems."""
    try:
        return _VALUES.decode(content)
    except msgspec.DecodeError as error:
        # What is left to go wrong is a number that no double, or no sensible integer, can hold.
        what = _split(str(error))[0]
        spot = pointer + (_find(content, lambda value, _: isinstance(value, float) and not math.isfinite(value)) or "")
        raise Problem("invalid-body", what, errors=[Spot(pointer=spot, message=what)]) from None


def _unfit(said: str) -> Problem:
    if said.startswith(_UNKNOWN):
        name, _, path = said.removeprefix(_UNKNOWN).rpartition("` - at `")
        if not name:
            name, path = path.removesuffix("`"), "$"
        spot = Spot(pointer=f"{_pointer(path.removesuffix('`'))}/{escaped(name)}", message="is not known")
        return Problem("invalid-request", f"There is no field {name!r} here.", errors=[spot])
    what, path = _split(said)
    return Problem("invalid-body", what, errors=[Spot(pointer=_pointer(path), message=what)])


def _split(said: str) -> tuple[str, str]:
    found = _MESSAGE.fullmatch(said)
    assert found is not None
    return found["what"], found["path"] or "$"


def _pointer(path: str) -> str:
    """A JSON pointer (RFC 6901) from msgspec's path: `$.labels[...]` names any value in there."""
    return path.removeprefix("$").replace("[...]", "").replace("[", "/").replace("]", "").replace(".", "/")


def _malformed(body: bytes, said: str) -> Problem:
    # Python's own reader takes what JSON does not allow but other writers produce. What it can read, it can point at.
    pointer = _find(body, _has_no_json_form)
    spots = [] if pointer is None else [Spot(pointer=pointer, message="has no form in JSON: a lone surrogate, NaN, or an infinity")]
    return Problem("malformed-json", said, errors=spots)


def _refuse_nul(body: bytes) -> None:
    """The escape may also be the text of an escaped backslash; only a NUL that is one is refused."""
    pointer = _find(body, lambda value, _: isinstance(value, str) and "\0" in value)
    if pointer is not None:
        raise Problem("invalid-body", "Text may not hold the NUL character.", errors=[Spot(pointer=pointer, message="holds \\u0000")])


def _too_deep(pointer: str) -> Problem:
    return Problem("invalid-body", f"JSON may be nested {_DEPTH} levels deep.", errors=[Spot(pointer=pointer, message="is nested too deeply")])


def _has_more_items(body: bytes, most: int) -> bool:
    """Whether an array has more items than that, by the commas on its own level; looks no further than the first too many."""
    signs = _outside_of_text(body).translate(None, _NOT_SIGNS)
    levels = accumulate(memoryview(signs.translate(_STEPS)).cast("b"))
    separators = filter((1).__eq__, compress(levels, signs.translate(_COMMAS)))
    return next(islice(separators, most - 1, None), None) is not None


def _outside_of_text(body: bytes) -> bytes:
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(unescaped.split(b'"')[::2])


def _has_no_json_form(value: Any, _: int) -> bool:
    return (isinstance(value, float) and not math.isfinite(value)) or (isinstance(value, str) and _SURROGATE.search(value) is not None)


def _find(body: bytes, is_wrong: Callable[[Any, int], bool]) -> str | None:
    """The pointer to the first value (or name) in a body of which `is_wrong(value, depth)` is true; None when there is
    none, or this is no JSON at all."""
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError):
        return None
    pending: list[tuple[str, Any, int]] = [("", whole, 1 if isinstance(whole, dict | list) else 0)]
    while pending:
        pointer, value, depth = pending.pop()
        if is_wrong(value, depth):
            return safe_text(pointer)
        for part, child in reversed(list(_children(value))):
            if is_wrong(part, 0):
                return safe_text(f"{pointer}/{escaped(str(part))}")
            pending.append((f"{pointer}/{escaped(str(part))}", child, depth + isinstance(child, dict | list)))
    return None


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def escaped(part: str) -> str:
    """One step of a JSON pointer."""
    return part.replace("~", "~0").replace("/", "~1")
