"""Everything the client raises on purpose, as one tree.

DaybookError
├── Unreachable         nobody answered, after all retries
├── ApiError            the API refused: .code .status .problem .request_id
│   ├── BadRequest      400, 422
│   ├── Unauthorized    401, 403
│   ├── NotFound        404
│   ├── Conflict        409, 412
│   └── Unavailable     429, 502, 503, 504, after all retries
├── TaskError           the task ended in error: .type .message .traceback
├── TaskCancelled       the task was cancelled: .reason
└── WaitTimedOut        the task has not ended in the time given; also a TimeoutError
"""

from datetime import UTC
from email.utils import parsedate_to_datetime
from http.client import responses

import msgspec

from daybook import clock

from .models import Failure, Problem


class DaybookError(Exception):
    """Whatever goes wrong between a caller and Daybook."""


class Unreachable(DaybookError):
    """Nobody answered at the address, or no address is known."""


class ApiError(DaybookError):
    """The API understood that it was asked something, and refused."""

    def __init__(self, problem: Problem, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"{problem.code}: {problem.detail or problem.title}")
        self.problem = problem
        self.code = problem.code
        self.status = problem.status
        self.request_id = problem.request_id
        self.retry_after_seconds = retry_after_seconds


class BadRequest(ApiError):
    """The request is malformed, or what it asks for is not possible."""


class Unauthorized(ApiError):
    """The token is missing, unknown, or not allowed to do this."""


class NotFound(ApiError):
    """There is no such thing, or none that this token may see."""


class Conflict(ApiError):
    """The task is in a state, or at a version, in which this cannot be done."""


class Unavailable(ApiError):
    """The API cannot answer now; asking again later is right."""


class TaskError(DaybookError):
    """The task ended in error. `traceback` is the one of the runner, as text."""

    def __init__(self, task_id: str, failure: Failure) -> None:
        super().__init__(f"{failure.type}: {failure.message}")
        self.task_id = task_id
        self.type = failure.type
        self.message = failure.message
        self.traceback = failure.traceback


class TaskCancelled(DaybookError):
    """The task was cancelled before it had a result."""

    def __init__(self, task_id: str, reason: str | None) -> None:
        super().__init__(f"{task_id} was cancelled" + (f": {reason}" if reason else ""))
        self.task_id = task_id
        self.reason = reason


class WaitTimedOut(DaybookError, TimeoutError):
    """The task goes on; only the waiting for it is over."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorized,
    403: Unauthorized,
    404: NotFound,
    409: Conflict,
    412: Conflict,
    422: BadRequest,
    429: Unavailable,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def refusal(status: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The error for an answer with this status (400 or above); `retry_after` is the header of that name (RFC 9110
    §10.2.3).
    """
    kind = _BY_STATUS.get(status, ApiError)
    return kind(_problem(status, body), retry_after_seconds=_seconds(retry_after))


def _problem(status: int, body: bytes) -> Problem:
    try:
        return msgspec.json.decode(body, type=Problem)
    except msgspec.MsgspecError:
        # Not every answer is ours: a proxy in between speaks HTML. Its status is all that can be trusted.
        title = responses.get(status, "Unknown status")
        return Problem(
            status=status,
            code=f"http-{status}",
            title=title,
            detail=f"The answer was {status} {title}, and not one of Daybook's own.",
        )


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        at = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, ((at if at.tzinfo else at.replace(tzinfo=UTC)) - clock.now()).total_seconds())
