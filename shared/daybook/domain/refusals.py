"""Why a command was not followed: a closed set of values, each mapped once to a problem (RFC 9457) by the API.

A refusal is an answer, not an accident: it is returned, never raised. `AlreadyDone` is the friendly one: what was asked for is so already.
"""

from typing import TypeAlias

import msgspec

from .status import Status


class NotFound(msgspec.Struct, frozen=True, kw_only=True):
    """There is no such task (or none that the caller may see: nobody is told which)."""


class AlreadyExists(msgspec.Struct, frozen=True, kw_only=True):
    """A task with this id was submitted before; `fingerprint` tells what that request was."""

    fingerprint: str


class AlreadyDone(msgspec.Struct, frozen=True, kw_only=True):
    """What the command wants is the case already."""


class NotAllowed(msgspec.Struct, frozen=True, kw_only=True):
    """The task's status does not permit it."""

    status: Status
    wanted: str


class StaleAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """The report is about an attempt that is not the current one: its runner was replaced, and nothing it says counts any more."""

    attempt: int
    current: int


class InThePast(msgspec.Struct, frozen=True, kw_only=True):
    """The time asked for lies in the past by more than a minute."""


class VersionMismatch(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's precondition named another version than the current one."""

    expected: int
    current: int


class Contended(msgspec.Struct, frozen=True, kw_only=True):
    """Others kept changing the task in the same instants; asking again is fine."""


Refusal: TypeAlias = NotFound | AlreadyExists | AlreadyDone | NotAllowed | StaleAttempt | InThePast | VersionMismatch | Contended
