"""JSON that every reader can hold: what user code hands over, made fit for Postgres, for browsers and for other
languages.

Three things that Python allows break others: the character NUL (Postgres refuses it in text), a lone surrogate (there
is no UTF-8 for it), and NaN or an infinity (there is no JSON for them). The first two become U+FFFD, the replacement
character; the last become null.

There are two ways in. `safe_bytes` is for results: it refuses what has no JSON form, since a result that is not what
was returned would be a lie. `safe_value` and `text_of` are for what is only shown (log lines, error texts): they show
anything at all and never raise, whatever the methods of an object do.
"""

from itertools import accumulate
from typing import Any, Final

import msgspec

DEEPEST_RESULT: Final = 256
"""Levels of nesting that the readers of all languages manage."""

_LONGEST_REPR: Final = 2_000
_LONGEST_SHOWN: Final = 256 * 1024
_MOST_BITS: Final = 4_096
"""Of an integer that is shown in digits: Python takes a long time to write more, and readers refuse to read them."""
_SHOWN_DEPTH: Final = 8
_SHOWN_ITEMS: Final = 500
_STEPS: Final = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def safe_text(text: str) -> str:
    """The text with each NUL and each lone surrogate replaced by U+FFFD; as fast for a hundred megabytes of them."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        # Encoding replaces each surrogate by a question mark. NUL, of which there is none left, stands for the true ones meanwhile.
        replaced = text.replace("?", "\x00").encode("utf-8", "replace")
        return replaced.replace(b"?", b"\xef\xbf\xbd").replace(b"\x00", b"?").decode()
    return text


def text_of(value: object, longest: int | None = None) -> str:
    """What `str` says of any value, safe, and cut to `longest` characters; says so where it says nothing."""
    try:
        # What `str` returns may be of a subclass, whose methods are somebody else's.
        text = str.__str__(str(value))
    except BaseException as error:  # noqa: BLE001 - a broken __str__ may raise anything, and must not end the runner
        return f"(cannot be shown: {_name_of(type(error))})"
    return safe_text(text if longest is None else text[:longest])


def safe_bytes(value: Any) -> bytes:
    """The value as safe JSON. Raises TypeError for a type that has no JSON form, ValueError for an integer with
    thousands of digits, RecursionError for a value that contains itself."""
    try:
        # msgspec writes NaN and the infinities as null by itself.
        encoded = _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_cleaned(msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)))
    # A NUL appears as this escape. The bytes may also be the text of an escaped backslash; the long way is right for
    # both.
    if b"\\u0000" not in encoded:
        return encoded
    return _encoder.encode(_cleaned(msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)))


def safe_value(value: Any) -> Any:
    """The value as dicts, lists, strings, numbers, booleans and None, its text safe. What has no such form is shown by
    its `repr`, and what contains itself, has no end or is very long by its beginning. Never raises."""
    try:
        return _cleaned(msgspec.to_builtins(value, str_keys=True, enc_hook=_shown), _LONGEST_SHOWN)
    except BaseException:  # noqa: BLE001 - user code runs in there: keys, properties, iterators of its own
        return _Excerpt().of(value, _SHOWN_DEPTH)


def is_deeper(encoded: bytes, levels: int) -> bool:
    """Whether well-formed JSON is nested deeper than that; told without a step of Python a byte."""
    if encoded.count(b"[") + encoded.count(b"{") <= levels:
        return False
    outside_of_text = b"".join(encoded.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    steps = memoryview(outside_of_text.translate(_STEPS, _NOT_BRACKETS)).cast("b")
    return max(accumulate(steps), default=0) > levels


class _Excerpt:
    """As much of a value as can be told without trusting it."""

    def __init__(self) -> None:
        self._left = _SHOWN_ITEMS

    def of(self, value: Any, depth: int) -> Any:
        # By the type's own methods, not the value's, which may be anything in a subclass.
        kind = type(value)
        if not issubclass(kind, dict | list | tuple):
            return _leaf(value)
        if not depth:
            return "…"
        if issubclass(kind, dict):
            return {text_of(key, _LONGEST_REPR): self.of(item, depth - 1) for key, item in dict.items(value) if self._has_room()}
        items = list.__iter__(value) if issubclass(kind, list) else tuple.__iter__(value)
        return [self.of(item, depth - 1) for item in items if self._has_room()]

    def _has_room(self) -> bool:
        # Something that contains itself twice would otherwise double with each level.
        self._left -= 1
        return self._left >= 0


def _plain(value: Any) -> Any:
    """Values of subclasses of str, int and float (numpy's, markup), which msgspec leaves to us, are what they are."""
    kind = type(value)
    if issubclass(kind, str):
        return str.__str__(value)
    if issubclass(kind, int):
        return int.__int__(value)
    if issubclass(kind, float):
        return float.__float__(value)
    raise TypeError(f"objects of type {_name_of(kind)} have no JSON form")


def _shown(value: object) -> Any:
    if issubclass(type(value), str | int | float):
        return _plain(value)
    try:
        return str.__str__(repr(value))[:_LONGEST_REPR]
    except BaseException as error:  # noqa: BLE001 - as in `text_of`
        return f"({_name_of(type(value))}, cannot be shown: {_name_of(type(error))})"


def _leaf(value: object) -> Any:
    if value is None or value is True or value is False:
        return value
    plain = _shown(value)
    if type(plain) is str:
        return safe_text(plain[:_LONGEST_SHOWN])
    return plain if type(plain) is float or plain.bit_length() <= _MOST_BITS else f"(an integer of {plain.bit_length()} bits)"


def _cleaned(value: Any, longest: int | None = None) -> Any:
    kind = type(value)
    if kind is str:
        return safe_text(value if longest is None or len(value) <= longest else f"{value[:longest]}… (cut)")
    if kind is dict:
        return {_cleaned(key, longest): _cleaned(item, longest) for key, item in value.items()}
    if kind is list or kind is tuple:
        return [_cleaned(item, longest) for item in value]
    return _leaf(value)


def _name_of(kind: type) -> str:
    # A metaclass may have a `__name__` of its own.
    return safe_text(type.__dict__["__name__"].__get__(kind))


_encoder: Final = msgspec.json.Encoder(enc_hook=_plain)
