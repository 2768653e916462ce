"""JSON that every reader can hold: what user code hands over, made fit for Postgres, for browsers and for other
languages.

Three things that Python allows break others: the character NUL (Postgres refuses it in text), a lone surrogate (there
is no UTF-8 for it), and NaN or an infinity (there is no JSON for them). The first two become U+FFFD, the replacement
character; the last become null.
"""

import re
from typing import Any, Final

import msgspec

_UNSAFE: Final = re.compile("[\x00\ud800-\udfff]")
_encoder: Final = msgspec.json.Encoder()


def safe_text(text: str) -> str:
    """The text with each NUL and each lone surrogate replaced by U+FFFD."""
    return _UNSAFE.sub("\ufffd", text)


def safe_bytes(value: Any) -> bytes:
    """The value as safe JSON. Raises TypeError for a type that msgspec cannot encode, RecursionError for a value that
    contains itself."""
    try:
        # msgspec writes NaN and the infinities as null by itself.
        encoded = _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(safe_value(value))
    # A NUL appears as this escape. The bytes may also be the text of an escaped backslash; the long way is right for
    # both.
    return _encoder.encode(safe_value(value)) if b"\\u0000" in encoded else encoded


def safe_value(value: Any) -> Any:
    """The value as dicts, lists, strings, numbers, booleans and None, its text safe; what has no such form is shown by
    its `repr`."""
    return _cleaned(msgspec.to_builtins(value, str_keys=True, enc_hook=repr))


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return safe_text(value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    return value
