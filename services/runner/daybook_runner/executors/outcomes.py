"""From what user code returned or raised to an outcome that can be stored, and shown to everybody.

This is the gate through which every outcome goes: past it, texts are safe and bounded, a result is no larger than the
runner allows, and what calls itself JSON is JSON. Nothing that an app returns or raises gets anything else out of here
than an outcome, least of all an exception.

A traceback shows the user's own frames: ours, which lead to them, are cut, and so is the middle of a very long one.
"""

import math
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec

from daybook.safe_json import DEEPEST_RESULT, is_deeper, safe_bytes, safe_text, text_of

from .protocol import Failure, Outcome, Success

RESULT_LIMIT_BYTES: Final = 64 * 1024 * 1024
"""How large a result may be, unless the setting says otherwise."""
_TRACEBACK_BYTES: Final = 32 * 1024
_MESSAGE_LENGTH: Final = 4_000
_TYPE_LENGTH: Final = 128
_LONGEST_WAIT_SECONDS: Final = 30 * 86_400.0
_OURS: Final = str(Path(__file__).parent)
_BYTES: Final = "application/octet-stream"


def outcome_of(result: Any, limit_bytes: int = RESULT_LIMIT_BYTES) -> Outcome:
    """What a function returned: bytes as they are, everything else as JSON. A value without a JSON form is a failure,
    and so is one that is too large or too deep."""
    if issubclass(type(result), bytes | bytearray | memoryview):
        size = result.nbytes if isinstance(result, memoryview) else len(result)
        return _too_large(size, limit_bytes) if size > limit_bytes else Success(content=bytes(result), media_type=_BYTES)
    if type(result) is str and len(result) > limit_bytes:
        # Known without making another copy of it.
        return _too_large(len(result), limit_bytes)
    try:
        encoded = safe_bytes(result)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return _unserializable(text_of(error, _MESSAGE_LENGTH))
    except BaseException as error:  # noqa: BLE001 - encoding asks the user's own objects for what they hold
        return failure_of(error)
    if len(encoded) > limit_bytes:
        return _too_large(len(encoded), limit_bytes)
    if is_deeper(encoded, DEEPEST_RESULT):
        return _unserializable(f"it is nested deeper than {DEEPEST_RESULT} levels")
    return Success(content=encoded)


def failure_of(error: BaseException) -> Failure:
    """What a function raised."""
    return Failure(error_type=_type_of(error), message=message_of(error), traceback=_traceback_of(error))


def message_of(error: BaseException) -> str:
    """The error's own words, bounded."""
    return text_of(error, _MESSAGE_LENGTH)


def fit(outcome: Outcome, limit_bytes: int = RESULT_LIMIT_BYTES) -> Outcome:
    """The outcome as it may be stored, whoever made it: its texts safe and bounded, its result within the limit, and
    JSON only by name if it is JSON."""
    if isinstance(outcome, Failure):
        return msgspec.structs.replace(
            outcome,
            error_type=text_of(outcome.error_type, _TYPE_LENGTH) or "Error",
            message=text_of(outcome.message, _MESSAGE_LENGTH),
            traceback=None if outcome.traceback is None else _cut(text_of(outcome.traceback)),
            retry_after_seconds=_sensible(outcome.retry_after_seconds),
        )
    if len(outcome.content) > limit_bytes:
        return _too_large(len(outcome.content), limit_bytes)
    if _claims_json(outcome.media_type) and not _is_json(outcome.content):
        # Clients parse what calls itself JSON: as bytes they can at least have it.
        return Success(content=outcome.content, media_type=_BYTES)
    return outcome


def _too_large(size: int, limit_bytes: int) -> Failure:
    return Failure(error_type="ResultTooLarge", message=f"the result has {size} bytes, and may have {limit_bytes}", retryable=False)


def _unserializable(why: str) -> Failure:
    return Failure(error_type="UnserializableResult", message=f"the result cannot be stored as JSON: {why}"[:_MESSAGE_LENGTH], retryable=False)


def _claims_json(media_type: str) -> bool:
    bare = media_type.partition(";")[0].strip().lower()
    return bare.endswith(("/json", "+json"))


def _is_json(content: bytes) -> bool:
    try:
        content.decode()
        msgspec.json.decode(content, type=msgspec.Raw)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return False
    return not is_deeper(content, DEEPEST_RESULT)


def _sensible(seconds: float | None) -> float | None:
    """How long to wait before the next attempt, as others wish it: a number, not below zero, and not for ever."""
    if seconds is None or not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), _LONGEST_WAIT_SECONDS)


def _type_of(error: BaseException) -> str:
    # Asked of `type` itself: a metaclass may have a `__name__` of its own.
    return text_of(type.__dict__["__name__"].__get__(type(error)), _TYPE_LENGTH) or "Error"


def _traceback_of(error: BaseException) -> str:
    try:
        frames = _user_frames(error.__traceback__)
        lines = traceback.TracebackException(type(error), error, frames, compact=True).format()
        return _cut("".join(lines))
    except BaseException:  # noqa: BLE001 - it asks the error, its causes and its notes, any of which may be broken
        return "(the traceback cannot be shown)"


def _user_frames(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    return frames


def _cut(text: str) -> str:
    if len(text) > 2 * _TRACEBACK_BYTES:
        # An error's text may be as long as memory allows, and most of it need not even be looked at.
        text = text[:_TRACEBACK_BYTES] + text[-_TRACEBACK_BYTES:]
    encoded = safe_text(text).encode()
    if len(encoded) <= _TRACEBACK_BYTES:
        return encoded.decode()
    head, tail = encoded[: _TRACEBACK_BYTES // 4], encoded[-(_TRACEBACK_BYTES * 3 // 4 - 64) :]
    return f"{head.decode(errors='ignore')}\n… (cut) …\n{tail.decode(errors='ignore')}"
