"""Whether a task is tried again, and when: exponential backoff with a cap, less a jitter that is the same for everybody
who computes it, so that two who decide the same decide alike.
"""

from datetime import timedelta
from hashlib import sha256
from typing import Final

from .events import Policy

_LONGEST_WISH_SECONDS: Final = 24 * 3600.0
_JITTER: Final = 0.25


def is_worth_retrying(policy: Policy, error_type: str, failures: int, *, retryable: bool) -> bool:
    """Whether the policy wants another attempt after so many failures, the last one of this type. A task that is to run
    at most once is never run again; an error type is named with or without its module."""
    if not retryable or policy.delivery == "at_most_once" or failures >= policy.max_attempts:
        return False
    return error_type not in policy.non_retryable and error_type.rpartition(".")[2] not in policy.non_retryable


def pause_before_retry(policy: Policy, number: int, seed: str, at_least_seconds: float | None = None) -> timedelta:
    """How long to wait before retry `number` (from 1): the backoff, or as long as the other side asked for, if that is
    longer (a day at most)."""
    try:
        backoff = min(policy.backoff_seconds * policy.backoff_factor ** (number - 1), policy.backoff_max_seconds)
    except OverflowError:
        backoff = policy.backoff_max_seconds if policy.backoff_seconds else 0.0
    spread = int.from_bytes(sha256(f"{seed}/{number}".encode()).digest()[:4], "big") / 2**32
    wished = min(at_least_seconds or 0.0, _LONGEST_WISH_SECONDS)
    return timedelta(seconds=max(backoff * (1 - _JITTER * spread), wished))
