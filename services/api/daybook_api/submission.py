"""From a request body to an accepted task: check everything, then append one event. The same for one task and for ten thousand.

Nothing is written before everything is known to be good, but for a large input, which goes to the blob store first (a blob that no event names is litter, never a task).
"""

import re
from asyncio import Future
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from daybook import ids
from daybook.access import Principal
from daybook.domain.commands import Submit
from daybook.domain.events import Policy, TaskSubmitted
from daybook.domain.refusals import AlreadyExists
from daybook.domain.task import Task, decide, evolve
from daybook.durations import parse_duration
from daybook.log import codec
from daybook.log.envelope import Appended, Conflict, Position, Recorded
from daybook.log.postgres import Log

from .catalogue import Catalogue, Entry
from .problems import Problem, Spot, of_refusal
from .schemas import SubmitRequest

_DEPTH: Final = 64
Decoded = TypeVar("Decoded")
_LONGEST: Final = timedelta(days=3650)
_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_MESSAGE: Final = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>\$.*)`)?$", re.DOTALL)
_DECODER: Final = msgspec.json.Decoder(SubmitRequest)
_VALUES: Final = msgspec.json.Decoder()


class Prepared(NamedTuple):
    """A submit that is good: the event to append, and what goes with it."""

    stream: UUID
    namespace: str
    event: TaskSubmitted
    sealed: codec.Sealed
    input: bytes
    keyed: bool


class Accepted(NamedTuple):
    """A task that is in the log. `replayed` when it was there before, under the same key."""

    stream: UUID
    task: Task
    position: Position
    input: bytes
    replayed: bool = False


def decode_request(body: bytes) -> SubmitRequest:
    """The body of a submit. Raises problems."""
    return decode(_DECODER, body)


def decode(decoder: "msgspec.json.Decoder[Decoded]", body: bytes) -> Decoded:
    """A body by its decoder; whatever is wrong with it becomes a problem that points at the spot."""
    check_json(body)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        found = _MESSAGE.match(str(error))
        assert found is not None
        what, path = found["what"], found["path"] or "$"
        if "unknown field" in what:
            name = what.rpartition("`")[0].rpartition("`")[2]
            raise Problem("invalid-request", what, errors=[Spot(pointer=f"{_pointer(path)}/{name}", message="is not known")]) from None
        raise Problem("invalid-body", what, errors=[Spot(pointer=_pointer(path), message=what)]) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Problem("malformed-json", str(error)) from None


def check_json(body: bytes) -> None:
    """Refuse what Postgres, or a reader, would choke on later: NUL characters, invalid UTF-8, nesting beyond 64 levels."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Problem("malformed-json", f"The body is not UTF-8: {error.reason} at byte {error.start}.") from None
    if b"\\u0000" in body and _NUL.search(body):
        raise Problem("invalid-body", "Text may not hold the NUL character.", errors=[Spot(pointer="", message="holds \\u0000")])
    if body.count(b"[") + body.count(b"{") > _DEPTH and _depth(body) > _DEPTH:
        raise Problem("invalid-body", f"JSON may be nested {_DEPTH} levels deep.", errors=[Spot(pointer="", message="is nested too deeply")])


def prepare(
    request: SubmitRequest, body: bytes, entry: Entry, who: Principal, now: datetime, *, key: str | None, correlation: str = ""
) -> Prepared:
    """Check a submit against its app and the rules; no I/O. Raises problems."""
    manifest = entry.manifest
    content = bytes(request.input)
    try:
        entry.check(_VALUES.decode(content))
    except msgspec.DecodeError as error:
        raise Problem("malformed-json", str(error)) from None
    sealed = codec.seal(content)
    policy = manifest.policy
    if request.timeout is not None or request.retry is not None or request.delivery is not None:
        policy = Policy(
            max_attempts=request.retry.max_attempts if request.retry else policy.max_attempts,
            timeout_seconds=seconds(request.timeout, "/timeout").total_seconds() if request.timeout is not None else policy.timeout_seconds,
            delivery=request.delivery or policy.delivery,
        )
    command = Submit(
        actor=f"user:{who.owner}",
        correlation=correlation,
        owner=who.owner,
        app=manifest.app,
        app_version=manifest.version,
        input=sealed.content,
        queue=request.queue or manifest.queue,
        priority=request.priority or manifest.priority,
        run_at=run_time(request.run_at, request.delay, now),
        policy=policy,
        labels=request.labels,
        fingerprint=sha256(body).hexdigest()[:32] if key is not None else "",
    )
    event = decide(None, command, now)
    if not isinstance(event, TaskSubmitted):
        raise of_refusal(event)  # type: ignore[arg-type]
    stream = ids.new_id() if key is None else ids.derive_id("http", who.namespace, who.owner, checked_key(key))
    return Prepared(stream, who.namespace, event, sealed, content, key is not None)


class Submission:
    """Accepts tasks."""

    def __init__(self, log: Log, catalogue: Catalogue) -> None:
        self._log = log
        self._catalogue = catalogue

    async def prepare(self, request: SubmitRequest, body: bytes, who: Principal, now: datetime, *, key: str | None) -> Prepared:
        """Find the app and check the submit against it. Raises problems."""
        return prepare(request, body, await self._catalogue.get(who.namespace, request.app), who, now, key=key)

    async def begin(self, prepared: Prepared) -> "Future[Appended]":
        """Store a large input, if it is one, and hand the event to the log's writer."""
        if prepared.sealed.blob is not None:
            await self._log.put_blob(prepared.sealed.content.digest, prepared.sealed.blob)
        return self._log.append(prepared.stream, 1, prepared.event, namespace=prepared.namespace, payload=prepared.sealed.payload)

    async def finish(self, prepared: Prepared, appending: "Future[Appended]") -> Accepted:
        """Wait for the commit. With a key that was used before, the task of that time, if the request was the same. Raises problems."""
        try:
            appended = await appending
        except Conflict:
            if not prepared.keyed:
                raise
            return _replayed(prepared, await self._log.load(prepared.stream))
        return Accepted(prepared.stream, evolve(None, prepared.event, appended.at), appended.position, prepared.input)

    async def accept(self, prepared: Prepared) -> Accepted:
        """Both at once."""
        return await self.finish(prepared, await self.begin(prepared))


def run_time(run_at: datetime | None, delay: str | float | None, now: datetime) -> datetime | None:
    """When a task is to run: a time, a time from now, or None for at once. Raises problems."""
    if run_at is not None and delay is not None:
        raise Problem("invalid-body", "Give run_at or delay, not both.", errors=[Spot(pointer="/delay", message="is given beside run_at")])
    if delay is not None:
        return now + seconds(delay, "/delay")
    if run_at is not None and run_at > now + _LONGEST:
        raise Problem("invalid-body", "run_at lies more than ten years ahead.", errors=[Spot(pointer="/run_at", message="is too far ahead")])
    return run_at


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
    if not 1 <= len(bare) <= 255 or not bare.isprintable():
        raise Problem("invalid-request", "An Idempotency-Key is 1 to 255 printable characters.")
    return bare


def _replayed(prepared: Prepared, recorded: list[Recorded]) -> Accepted:
    first = recorded[0]
    event = first.event
    assert isinstance(event, TaskSubmitted)
    if event.fingerprint != prepared.event.fingerprint:
        raise of_refusal(AlreadyExists(fingerprint=event.fingerprint))
    task: Task | None = None
    for each in recorded:
        task = evolve(task, each.event, each.at)  # type: ignore[arg-type]
    assert task is not None
    return Accepted(prepared.stream, task, Position(first.lane, first.position), prepared.input, replayed=True)


def _pointer(path: str) -> str:
    """A JSON pointer from msgspec's path: `$.labels[...]` names any value in there."""
    return path.removeprefix("$").replace("[...]", "").replace("[", "/").replace("]", "").replace(".", "/")


def _depth(body: bytes) -> int:
    deepest = depth = 0
    in_text = escaped = False
    for byte in body:
        if in_text:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_text = False
        elif byte == 0x22:
            in_text = True
        elif byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest
