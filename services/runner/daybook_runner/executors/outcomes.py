"""From what user code returned or raised to an outcome that can be stored.

A traceback shows the user's own frames: ours, which lead to them, are cut, and so is the middle of a very long one.
"""

import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from daybook.safe_json import safe_bytes, safe_text

from .protocol import Failure, Outcome, Success

_TRACEBACK_BYTES: Final = 32 * 1024
_MESSAGE_LENGTH: Final = 4_000
_OURS: Final = str(Path(__file__).parent)


def outcome_of(result: Any) -> Outcome:
    """What a function returned: bytes as they are, everything else as JSON. A value without a JSON form is a
    failure."""
    if isinstance(result, bytes | bytearray | memoryview):
        return Success(content=bytes(result), media_type="application/octet-stream")
    try:
        return Success(content=safe_bytes(result))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        return Failure(error_type="UnserializableResult", message=safe_text(f"the result cannot be stored as JSON: {error}"))


def failure_of(error: BaseException) -> Failure:
    """What a function raised."""
    frames = _user_frames(error.__traceback__)
    text = "".join(traceback.TracebackException(type(error), error, frames, compact=True).format())
    return Failure(error_type=type(error).__name__, message=message_of(error), traceback=_bounded(safe_text(text)))


def message_of(error: BaseException) -> str:
    """The error's own words, bounded."""
    try:
        return safe_text(str(error))[:_MESSAGE_LENGTH]
    except Exception:  # noqa: BLE001 - the user's own __str__ is broken, and the error it hides is still to be told
        return "(the error's message cannot be shown)"


def _user_frames(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    return frames


def _bounded(text: str) -> str:
    encoded = text.encode()
    if len(encoded) <= _TRACEBACK_BYTES:
        return text
    head, tail = encoded[: _TRACEBACK_BYTES // 4], encoded[-(_TRACEBACK_BYTES * 3 // 4 - 64) :]
    return f"{head.decode(errors='ignore')}\n… (cut) …\n{tail.decode(errors='ignore')}"
