"""From a request body to an accepted task: check everything, then append one event. The same for one task and for ten
thousand.

Nothing is written before everything is known to be good, but for a large input, which goes to the blob store first (a
blob that no event names is litter, never a task).
"""

from asyncio import Future
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from daybook import ids
from daybook.access import Principal
from daybook.blobs import Blobs
from daybook.domain.commands import Submit
from daybook.domain.events import Content, Policy, TaskSubmitted
from daybook.domain.refusals import AlreadyExists, InThePast
from daybook.domain.task import Task, decide, evolve, fold
from daybook.durations import parse_duration
from daybook.log import codec
from daybook.log.envelope import Appended, Conflict, Position, Recorded
from daybook.log.postgres import Log, events_of

from . import bodies
from .catalogue import Catalogue, Entry
from .problems import Problem, Spot, of_refusal
from .schemas import LONGEST_SECONDS, RetryRequest, SubmitRequest, TaskRequest
from .webhooks import target_of

_LONGEST: Final = timedelta(seconds=LONGEST_SECONDS)
_DECODER: Final = msgspec.json.Decoder(SubmitRequest)
_LIMITS: Final = ("timeout", "queue_ttl", "deadline")
_AS_THE_APP: Final = RetryRequest()


class Prepared(NamedTuple):
    """A submit that is good: the event to append, and what goes with it."""

    stream: UUID
    namespace: str
    event: TaskSubmitted
    sealed: codec.Sealed
    input: bytes
    fingerprint: str
    """Of the request, where it has a key; else empty."""


class Kept(NamedTuple):
    """What a rerun takes over from the task that it repeats."""

    rerun_of: str
    policy: Policy


class Accepted(NamedTuple):
    """A task that is in the log. `replayed` when it was there before, under the same key."""

    stream: UUID
    task: Task
    position: Position
    input: bytes
    replayed: bool = False


Begun: TypeAlias = Accepted | tuple[Prepared, Future[Appended]]


def decode_request(body: bytes) -> SubmitRequest:
    """The body of a submit. Raises problems."""
    return bodies.decode(_DECODER, body)


def prepare(request: TaskRequest, entry: Entry, who: Principal, now: datetime, *, stream: UUID, fingerprint: str, kept: Kept | None = None) -> Prepared:
    """Check a submit against its app and the rules; no I/O. Raises problems."""
    manifest = entry.manifest
    content = bytes(request.input)
    entry.check(bodies.decode_part(content, "/input"))
    sealed = codec.seal(content)
    command = Submit(
        actor=f"user:{who.owner}",
        owner=who.owner,
        app=manifest.app,
        app_version=manifest.version,
        input=sealed.content,
        queue=request.queue or manifest.queue,
        priority=request.priority or manifest.priority,
        run_at=run_time(request.run_at, request.delay, now),
        policy=policy_of(request, manifest.policy) if kept is None else kept.policy,
        labels=request.labels,
        fingerprint=fingerprint,
        rerun_of="" if kept is None else kept.rerun_of,
        on_finish=target_of(request.on_finish),
    )
    event = decide(None, command, now)
    if not isinstance(event, TaskSubmitted):
        raise of_refusal(InThePast())  # the one thing that can be wrong with a first command
    return Prepared(stream, who.namespace, event, sealed, content, fingerprint)


class Submission:
    """Accepts tasks."""

    def __init__(self, log: Log, blobs: Blobs, catalogue: Catalogue) -> None:
        self._log = log
        self._blobs = blobs
        self._catalogue = catalogue

    async def prepare(
        self, request: TaskRequest, body: bytes, who: Principal, now: datetime, *, key: str | None, kept: Kept | None = None
    ) -> Prepared | Accepted:
        """Find the app and check the submit against it. Raises problems.

        What was accepted under its key before is answered as it was, even if it would be refused today: its time may
        have come and gone, its app may have changed.
        """
        if key is None:
            entry = await self._catalogue.get(who.namespace, request.app)
            return prepare(request, entry, who, now, stream=ids.new_id(), fingerprint="", kept=kept)
        stream = ids.derive_id("http", who.namespace, who.owner, checked_key(key))
        fingerprint = sha256(body).hexdigest()[:32]
        try:
            entry = await self._catalogue.get(who.namespace, request.app)
            prepared = prepare(request, entry, who, now, stream=stream, fingerprint=fingerprint, kept=kept)
        except Problem:
            earlier = await self._log.load(stream)
            if not earlier:
                raise
            return _replayed(earlier, fingerprint, bytes(request.input))
        if prepared.sealed.blob is not None and (earlier := await self._log.load(stream)):
            # A repeated submit must not leave another copy of its input behind.
            return _replayed(earlier, fingerprint, prepared.input)
        return prepared

    async def begin(self, prepared: Prepared | Accepted) -> Begun:
        """Store a large input, if it is one, and hand the event to the log's writer."""
        if isinstance(prepared, Accepted):
            return prepared
        if prepared.sealed.blob is not None:
            await self._blobs.put(prepared.sealed.content.digest, prepared.sealed.blob)
        return prepared, self._log.append(prepared.stream, 1, prepared.event, namespace=prepared.namespace, payload=prepared.sealed.payload)

    async def finish(self, begun: Begun) -> Accepted:
        """Wait for the commit. With a key that was used before, the task of that time, if the request was the same. Raises problems."""
        if isinstance(begun, Accepted):
            return begun
        prepared, appending = begun
        try:
            appended = await appending
        except Conflict:
            if not prepared.fingerprint:
                raise
            return _replayed(await self._log.load(prepared.stream), prepared.fingerprint, prepared.input)
        return Accepted(prepared.stream, evolve(None, prepared.event, appended.at), appended.position, prepared.input)

    async def accept(self, prepared: Prepared | Accepted) -> Accepted:
        """Both at once."""
        return await self.finish(await self.begin(prepared))


def run_time(run_at: datetime | None, delay: str | float | None, now: datetime) -> datetime | None:
    """When a task is to run, in UTC: at a time, after a while, or (None) at once. Raises problems."""
    if run_at is not None and delay is not None:
        raise Problem("invalid-body", "Give run_at or delay, not both.", errors=[Spot(pointer="/delay", message="is given beside run_at")])
    if delay is not None:
        return now + seconds(delay, "/delay")
    if run_at is None:
        return None
    if run_at > now + _LONGEST:
        raise Problem("invalid-body", "run_at lies more than ten years ahead.", errors=[Spot(pointer="/run_at", message="is too far ahead")])
    try:
        return run_at.astimezone(UTC)
    except OverflowError:
        raise of_refusal(InThePast()) from None  # so long ago that in UTC it was no year of the calendar


def seconds(duration: str | float, pointer: str) -> timedelta:
    """A duration of a request. Raises a problem that points at it."""
    try:
        parsed = parse_duration(duration)
    except (ValueError, OverflowError) as error:
        raise Problem("invalid-body", str(error), errors=[Spot(pointer=pointer, message=str(error))]) from None
    if parsed > _LONGEST:
        raise Problem("invalid-body", "A duration may be ten years.", errors=[Spot(pointer=pointer, message="is too long")])
    return parsed


def checked_key(key: str) -> str:
    """An idempotency key, without the quotes that the header's syntax allows. Raises a problem."""
    bare = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
    if not 1 <= len(bare) <= 255 or not (bare.isascii() and bare.isprintable()):
        raise Problem("invalid-request", "An idempotency key is 1 to 255 printable ASCII characters.")
    return bare


async def open_payload(blobs: Blobs, content: Content, payload: bytes | None) -> bytes | None:
    """A payload's bytes, wherever they lie; None when they were erased."""
    return await blobs.get(content.digest, content.size_bytes) if content.blob else codec.unseal(content, payload)


def policy_of(request: TaskRequest, default: Policy) -> Policy:
    """The policy that a request asks for; what it does not say is as in `default`. Raises problems."""
    limits = {name: duration for name in _LIMITS if (duration := getattr(request, name)) is not None}
    if not limits and request.retry is None and request.delivery is None:
        return default
    said: dict[str, Any] = {f"{name}_seconds": _limit(duration, f"/{name}") for name, duration in limits.items()}
    if request.delivery is not None:
        said["delivery"] = request.delivery
    return msgspec.structs.replace(default, **said, **_retries(request.retry or _AS_THE_APP))


def _limit(duration: str | float, pointer: str) -> float:
    limit = seconds(duration, pointer).total_seconds()
    if not limit:
        raise Problem("invalid-body", "A limit of 0 would end every task before it could begin.", errors=[Spot(pointer=pointer, message="is 0")])
    return limit


def _retries(retry: RetryRequest) -> dict[str, Any]:
    """What a request says about retries, in the words of the policy."""
    said = {
        "max_attempts": retry.max_attempts,
        "backoff_seconds": None if retry.backoff is None else seconds(retry.backoff, "/retry/backoff").total_seconds(),
        "backoff_max_seconds": None if retry.max_backoff is None else seconds(retry.max_backoff, "/retry/max_backoff").total_seconds(),
        "backoff_factor": retry.factor,
        "non_retryable": None if retry.non_retryable is None else tuple(retry.non_retryable),
    }
    return {name: value for name, value in said.items() if value is not None}


def _replayed(recorded: list[Recorded], fingerprint: str, content: bytes) -> Accepted:
    first = recorded[0]
    task = fold(events_of(recorded))
    assert task is not None
    if task.fingerprint != fingerprint:
        raise of_refusal(AlreadyExists(fingerprint=task.fingerprint))
    return Accepted(first.stream, task, Position(first.lane, first.position), content, replayed=True)
