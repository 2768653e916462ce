"""The messages that are not facts: doorbells, pokes and words to a runner. Facts travel as the log keeps them (see `relay`)."""

from typing import Annotated, Final
from uuid import UUID

import msgspec

_ENCODER: Final = msgspec.json.Encoder()
_BELL: Final = msgspec.json.Decoder(list[UUID])


class CancelAttempt(msgspec.Struct, frozen=True, kw_only=True, tag_field="do", tag="cancel"):
    """To a runner: somebody wants this task's running attempt to stop."""

    task: UUID


class Poke(msgspec.Struct, frozen=True, kw_only=True):
    """The log grew: up to where, and by which kinds of event."""

    kinds: set[str]
    lane: Annotated[int, msgspec.Meta(ge=0, lt=64)]
    position: int


_POKE: Final = msgspec.json.Decoder(Poke)
_CONTROL: Final = msgspec.json.Decoder(CancelAttempt)


def encode_bell(tasks: list[UUID]) -> bytes:
    """A doorbell: tasks that are ready to be claimed. A hint, nothing more."""
    return _ENCODER.encode(tasks)


def decode_bell(data: bytes) -> list[UUID]:
    """The tasks of a doorbell; empty for anything else (whoever rings nonsense wakes nobody)."""
    try:
        return _BELL.decode(data)
    except msgspec.DecodeError:
        return []


def encode_control(message: CancelAttempt) -> bytes:
    """A word to a runner."""
    return _ENCODER.encode(message)


def decode_control(data: bytes) -> CancelAttempt | None:
    """The word to a runner, or None for anything else."""
    try:
        return _CONTROL.decode(data)
    except msgspec.DecodeError:
        return None


def encode_poke(poke: Poke) -> bytes:
    """A hint that may be lost."""
    return _ENCODER.encode(poke)


def decode_poke(data: bytes) -> Poke | None:
    """The poke, or None for anything else: whoever hears that looks at once."""
    try:
        return _POKE.decode(data)
    except msgspec.DecodeError:
        return None
