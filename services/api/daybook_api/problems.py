"""Everything that can go wrong, as RFC 9457 problems: the closed list of codes, and the one mapping from refusals to them.

A problem never carries a traceback, SQL, or a path of this machine.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, assert_never

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from daybook import ids
from daybook.blobs import BlobsUnavailable
from daybook.domain.refusals import (
    AlreadyDone,
    AlreadyExists,
    Contended,
    InThePast,
    NotAllowed,
    NotFound,
    Refusal,
    StaleAttempt,
    VersionMismatch,
)
from daybook.domain.status import TERMINAL, Status
from daybook.log.connections import LOST
from daybook.log.envelope import LogUnavailable, StreamUnreadable

MEDIA_TYPE: Final = "application/problem+json"

log = structlog.get_logger()


class Code(NamedTuple):
    """What a code stands for."""

    status: int
    title: str


CODES: Final[Mapping[str, Code]] = {
    "malformed-json": Code(400, "The body is not JSON"),
    "invalid-request": Code(400, "The request is not one this endpoint knows"),
    "unauthorized": Code(401, "A valid token is needed"),
    "forbidden": Code(403, "This token may not do that"),
    "not-found": Code(404, "There is nothing here"),
    "method-not-allowed": Code(405, "This method is not known here"),
    "already-started": Code(409, "The task has started"),
    "already-finished": Code(409, "The task has ended"),
    "not-finished": Code(409, "The task has not ended yet"),
    "task-failed": Code(409, "The task ended with an error"),
    "task-cancelled": Code(409, "The task was cancelled"),
    "contended": Code(409, "Others changed it in the same instant"),
    "result-erased": Code(410, "The result was erased"),
    "input-erased": Code(410, "The input was erased"),
    "version-mismatch": Code(412, "It has another version now"),
    "too-large": Code(413, "The body is too large"),
    "unsupported-media-type": Code(415, "The body has a media type that is not known here"),
    "invalid-body": Code(422, "The body does not fit"),
    "invalid-input": Code(422, "The input does not fit the app"),
    "unknown-app": Code(422, "There is no such app"),
    "too-many-webhooks": Code(422, "There are as many webhooks as one may have"),
    "in-the-past": Code(422, "That time has passed"),
    "idempotency-key-reused": Code(422, "This key was used for another request"),
    "internal-error": Code(500, "Something went wrong on our side"),
    "unavailable": Code(503, "A store that this needs cannot be reached"),
    "read-model-behind": Code(503, "The list is not up to date yet"),
}

_BY_STATUS: Final = {
    400: "invalid-request",
    401: "unauthorized",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    503: "unavailable",
}


class Spot(msgspec.Struct, frozen=True, kw_only=True):
    """One place in the request that is wrong: a JSON pointer (RFC 6901), and what is wrong there."""

    pointer: str
    message: str


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457, with our members `code`, `request_id`, `errors` and `hint`; `error` is there only with `task-failed`."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str
    errors: list[Spot]
    hint: str | None
    error: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class Problem(Exception):
    """Ends the request with a problem."""

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: list[Spot] | None = None,
        hint: str | None = None,
        headers: dict[str, str] | None = None,
        error: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or CODES[code].title)
        self.code = code
        self.detail = detail or CODES[code].title
        self.errors = errors or []
        self.hint = hint
        self.headers = headers or {}
        self.error = error

    @property
    def status(self) -> int:
        """The HTTP status."""
        return CODES[self.code].status

    def details(self, instance: str, request_id: str) -> ProblemDetails:
        """The body to send."""
        return ProblemDetails(
            type=f"urn:daybook:problem:{self.code}",
            title=CODES[self.code].title,
            status=self.status,
            detail=self.detail,
            instance=instance,
            code=self.code,
            request_id=request_id,
            errors=self.errors,
            hint=self.hint,
            error=msgspec.UNSET if self.error is None else self.error,
        )


def of_refusal(refusal: Refusal, what: str = "task") -> Problem:
    """The one place where a refusal becomes a problem; `what` was asked for."""
    match refusal:
        case NotFound():
            return Problem("not-found", f"There is no such {what}, or it is not yours.")
        case NotAllowed(status=status, wanted="retry") if status in TERMINAL:
            return Problem("already-finished", f"The task has ended with status {status}: there is nothing to retry.", hint="Rerun it, as a new task.")
        case NotAllowed(status=status, wanted="retry"):
            return Problem("not-finished", f"The task is {status}: only one that ended with an error or was cancelled can be retried.")
        case NotAllowed(status=status, wanted=wanted) if status in TERMINAL:
            return Problem("already-finished", f"The task has ended with status {status}; it is too late to {wanted} it.")
        case NotAllowed(wanted=wanted):
            return Problem("already-started", f"The task is running; it is too late to {wanted} it.", hint="Cancel it instead.")
        case InThePast():
            return Problem("in-the-past", "The time lies more than a minute in the past.", errors=[Spot(pointer="/run_at", message="is in the past")])
        case VersionMismatch(expected=expected, current=current):
            return Problem("version-mismatch", f"You named version {expected}, and it is {current} now.")
        case AlreadyExists():
            return Problem("idempotency-key-reused", "This Idempotency-Key came with another body before.")
        case Contended() | StaleAttempt() | AlreadyDone():
            return Problem("contended", hint="Send the request again.")
        case _:
            assert_never(refusal)


def of_exception(error: Exception) -> Problem:
    """The problem that an exception comes to."""
    match error:
        case Problem():
            return error
        case HTTPException():
            code = _BY_STATUS.get(error.status_code, "internal-error" if error.status_code >= 500 else "invalid-request")
            headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
            return Problem(code, headers=headers)
        case BlobsUnavailable():
            detail = "The blob store, where large inputs and results lie, cannot be reached."
            return Problem("unavailable", detail, hint="Send the request again.", headers={"Retry-After": "1"})
        case LogUnavailable():
            return Problem("unavailable", hint="Send the request again with the same Idempotency-Key.", headers={"Retry-After": "1"})
        case StreamUnreadable():
            return Problem("unavailable", "This was written by a newer release than this one.", headers={"Retry-After": "60"})
        case _ if isinstance(error, LOST):
            return Problem("unavailable", headers={"Retry-After": "1"})
        case _:
            return Problem("internal-error")


def respond(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Litestar's exception handler: every error there is, as a problem."""
    problem = of_exception(error)
    details = problem.details(request.url.path, new_request_id())
    tell(details, error)
    return Response(
        msgspec.json.encode(details),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers={"X-Request-Id": details.request_id, **problem.headers},
    )


def new_request_id() -> str:
    """Names a request that went wrong, in its answer and in our log."""
    return ids.spell("evt", ids.new_id()).removeprefix("evt_")


def tell(details: ProblemDetails, error: Exception) -> None:
    """Log what is our own fault; whoever reports its `request_id` leads us there. A database that is away needs no traces, and would fill the log with them."""
    if details.status >= 500:
        trace = error if details.code == "internal-error" else None
        name = type(error).__name__
        log.error("request.failed", request_id=details.request_id, code=details.code, path=details.instance, error=name, exc_info=trace)


def not_a_result(status: Status, error: dict[str, Any] | None) -> Problem:
    """Why a task has no result to give."""
    match status:
        case Status.ERROR:
            return Problem("task-failed", (error or {}).get("message") or "The task ended with an error.", error=error)
        case Status.CANCELLED:
            return Problem("task-cancelled")
        case _:
            return Problem("not-finished", f"The task is {status}.", headers={"Retry-After": "1"})
