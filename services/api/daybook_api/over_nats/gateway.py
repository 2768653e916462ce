"""The door for those who speak NATS: `daybook.<namespace>.<owner>.api.<verb>` by request and reply.

It leads into the same house as HTTP: each request is handed to the same routes within this process, so nothing is
checked, carried out or said in two ways. Who is asking is what the subject says, because the server's permissions give
each user the subjects of exactly their own; nobody acts for another here, and nobody is an admin.

Refused are: more requests at once than a process can serve, and answers to any subject that is no inbox, since the
right to publish there would be ours and not the asker's.
"""

import asyncio
from collections import Counter
from typing import Final
from uuid import UUID

import msgspec
import nats.errors
import structlog
from litestar import Litestar
from nats.aio.client import Client as Connection
from nats.aio.msg import Msg

from daybook.access import Principal
from daybook.bus import subjects

from ..problems import MEDIA_TYPE, Problem, ProblemDetails, new_request_id, of_exception, tell
from .in_process import Answered, carry_out
from .service import Counted, VerbService
from .verbs import as_http, verbs_of

_MOST_AT_ONCE: Final = 1024
_MOST_OF_ONE_OWNER: Final = 256
_FINISH_SECONDS: Final = 5.0
_LONGEST_ERROR: Final = 300
_SCOPES: Final = frozenset({"read", "submit"})
_NO_TOKEN: Final = UUID(int=0)
_FRAME_BYTES: Final = len("NATS/1.0\r\n\r\n")
ANSWER_HEADERS: Final = {
    name.lower(): name
    for name in (
        "Content-Type",
        "Daybook-Position",
        "ETag",
        "Idempotency-Replayed",
        "Link",
        "Location",
        "Operation-Location",
        "Preference-Applied",
        "Retry-After",
        "X-Request-Id",
    )
}
"""The headers of an HTTP answer that a reply has too, by their names in small letters."""
_PROBLEM: Final = msgspec.json.Decoder(ProblemDetails)

log = structlog.get_logger()


class NatsGateway:
    """Serves every connection that it is given, until it is drained."""

    def __init__(self, app: Litestar) -> None:
        self._app = app
        self._verbs = tuple(verbs_of(app))
        self._service: VerbService | None = None
        self._begun: set[asyncio.Task[None]] = set()
        self._begun_by: Counter[tuple[str, str]] = Counter()
        self._is_draining = False

    async def serve(self, connection: Connection) -> None:
        """Take requests from a new connection, in place of the one before."""
        if not self._is_draining:
            self._service = VerbService(connection, self._verbs, self._take)
            await self._service.listen()

    async def drain(self) -> None:
        """Take nothing new, and finish what was begun; what takes longer than five seconds is given up."""
        self._is_draining = True
        if self._service is not None:
            await self._service.drain()
        if self._begun:
            _, late = await asyncio.wait(self._begun, timeout=_FINISH_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _take(self, counted: Counted, message: Msg) -> None:
        """Have a request carried out, beside all others."""
        began = counted.began()
        if message.reply and not subjects.is_inbox(message.reply):
            counted.ended(began, "400:The reply subject is no inbox")
            return
        asker = subjects.asker(message.subject)
        if len(self._begun) >= _MOST_AT_ONCE or self._begun_by[asker] >= _MOST_OF_ONE_OWNER:
            too_many = Problem("unavailable", "Too many requests are being carried out already.", headers={"Retry-After": "1"})
            await self._end(counted, began, message, _refused(message, too_many))
            return
        task = asyncio.create_task(self._carry_out(counted, began, message))
        self._begun.add(task)
        self._begun_by[asker] += 1
        task.add_done_callback(lambda task: self._done(task, asker))

    def _done(self, task: asyncio.Task[None], asker: tuple[str, str]) -> None:
        self._begun.discard(task)
        self._begun_by[asker] -= 1
        if not self._begun_by[asker]:
            del self._begun_by[asker]

    async def _carry_out(self, counted: Counted, began: int, message: Msg) -> None:
        try:
            headers = {name.lower(): value for name, value in (message.headers or {}).items()}
            who = identify(message.subject, headers.get("daybook-owner"))
            answered = await carry_out(self._app, as_http(counted.verb, message.data, headers), who)
        except Exception as error:  # noqa: BLE001 as for HTTP: every error there is, as a problem
            answered = _refused(message, error)
        await self._end(counted, began, message, answered)

    async def _end(self, counted: Counted, began: int, message: Msg, answered: Answered) -> None:
        if message.reply and self._service is not None:
            # Not necessarily the connection that it came by: the asker's inbox is the same everywhere.
            connection = self._service.connection
            headers = _spelled(answered)
            if _FRAME_BYTES + sum(len(f"{name}: {value}\r\n".encode()) for name, value in headers.items()) + len(answered.body) > connection.max_payload:
                answered = _refused(message, _too_large(answered, connection.max_payload))
                headers = _spelled(answered)
            try:
                await connection.publish(message.reply, answered.body, headers=headers)
            except nats.errors.Error as error:
                # Whoever asked sees their own time run out, as with any server that went away.
                log.warning("reply.lost", verb=counted.verb.name, error=type(error).__name__)
        counted.ended(began, f"{answered.status}:{_PROBLEM.decode(answered.body).title}" if answered.status >= 400 else "")


def identify(subject: str, owner: str | None) -> Principal:
    """Whom a subject stands for. An owner whose name cannot be part of a subject has a digest there, and says the name in
    `Daybook-Owner`. Raises problems."""
    namespace, token = subjects.asker(subject)
    if not subjects.is_name(namespace):
        raise Problem("invalid-request", "The second part of the subject is a namespace: 1 to 32 of a-z, 0-9, _ and -.")
    if owner is None:
        owner = token
    # Its length first: tokens are remembered, by names that should better be short.
    if not 1 <= len(owner) <= 128 or not owner.isprintable():
        raise Problem("invalid-request", "Daybook-Owner is 1 to 128 printable characters.")
    if subjects.owner_token(owner) != token:
        hint = "Where the subject has x- and a digest of the owner's name, the header Daybook-Owner says that name; elsewhere it can be left out."
        raise Problem("forbidden", "The subject is not this owner's.", hint=hint)
    return Principal(token=_NO_TOKEN, namespace=namespace, owner=owner, scopes=_SCOPES)


def _refused(message: Msg, error: Exception) -> Answered:
    problem = of_exception(error)
    details = problem.details(message.subject, new_request_id())
    if not isinstance(error, Problem):
        # Problems of this door are the asker's; those behind it were logged there.
        tell(details, error)
    headers = {"content-type": MEDIA_TYPE, "x-request-id": details.request_id} | {name.lower(): value for name, value in problem.headers.items()}
    return Answered(details.status, headers, msgspec.json.encode(details))


def _too_large(answered: Answered, most: int) -> Problem:
    done = "The request was carried out" if answered.status < 400 else "The request was refused"
    detail = f"{done} ({answered.status}), and its answer of {len(answered.body)} bytes is larger than a message of NATS may be ({most})."
    kept = {name: value for name, value in answered.headers.items() if name not in {"content-type", "link", "retry-after"}}
    return Problem("too-large", detail, hint="Ask for less with limit, or ask for it over HTTP.", headers=kept)


def _spelled(answered: Answered) -> dict[str, str]:
    """The headers of a reply: those of HTTP that mean something here, its status, and, for problems, what ADR-32 asks for."""
    headers = {"Daybook-Status": str(answered.status)}
    headers |= {ANSWER_HEADERS[name]: value for name, value in answered.headers.items() if name in ANSWER_HEADERS and value}
    if answered.status >= 400:
        headers["Nats-Service-Error-Code"] = str(answered.status)
        headers["Nats-Service-Error"] = " ".join(_PROBLEM.decode(answered.body).detail.split())[:_LONGEST_ERROR]
    return headers
