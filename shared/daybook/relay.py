"""The relay: every committed event, once more, on NATS. The only publisher of facts.

At least once, in the order of each stream. Each fact is a CloudEvent in binary mode (the NATS protocol binding of
CloudEvents 1.0): its attributes are headers, its body is the event's `data` as the log keeps it. `Nats-Msg-Id` is the
event's id, so what is told twice within half a minute is stored once.

A page travels with one acknowledgement: all its messages but the last go out without asking. Each but the first names
the one before it, and is stored only right behind that one. So nothing overtakes what was lost, and when the last was
stored all were. If it was not, or was there already, the page is sent one by one, each after the one before was
acknowledged.
"""

from collections import OrderedDict
from typing import Final, NamedTuple
from uuid import UUID

from nats.js.errors import BadRequestError, NoStreamResponseError, NotFoundError

from . import ids
from .bus import subjects
from .bus.jetstream import Bus
from .bus.pages import Message, Pages
from .bus.topology import FACTS
from .domain.events import AppPublished, Event, TaskCancelRequested, TaskEvent, TaskSubmitted, WebhookCreated, kind_of
from .domain.schedule_events import ScheduleCreated
from .domain.status import status_after
from .log.connections import Connection
from .log.envelope import Recorded
from .log.postgres import Log

_ADDRESSES: Final = 50_000
_HEADERS_BYTES: Final = 4096
_WRONG_LAST_MESSAGE: Final = 10070
_SOURCE: Final = "/daybook"
_ADDRESSED: Final = ("task.", "schedule.", "slot.", "slots.", "webhook.")


class _Address(NamedTuple):
    """What all facts of one stream share: the subject up to the verb, and most of their headers."""

    prefix: str
    headers: str


def _address(namespace: str, owner: str, app: str, public_id: str) -> _Address:
    return _Address(
        subjects.fact_prefix(namespace, owner, app, public_id),
        f"ce-specversion: 1.0\r\nce-source: {_SOURCE}/{namespace}\r\nce-subject: {public_id}\r\ncontent-type: application/json\r\n"
        f"Nats-Expected-Stream: {FACTS}\r\n",
    )


class Relay:
    """Publishes pages of the log to the stream of facts."""

    in_transaction = False

    def __init__(self, log: Log, bus: Bus) -> None:
        self._log = log
        self._bus = bus
        self._pages = Pages(bus)
        self._addresses: OrderedDict[UUID, _Address] = OrderedDict()

    def concerns(self, event: Event) -> bool:
        """Everything is told."""
        return True

    async def begin(self, connection: Connection) -> None:
        """Nothing is remembered but addresses, which never change."""

    async def apply(self, connection: Connection, events: list[Recorded]) -> bool:
        """Publish these events. Raises when NATS does not answer; the page is then told again."""
        if not events:
            return False
        await self._learn_addresses(events)
        try:
            if not await self._tell_page(events):
                await self._tell_one_by_one(events)
        except (NotFoundError, NoStreamResponseError):
            await self._bus.heal()
            raise
        return True

    async def _tell_page(self, events: list[Recorded]) -> bool:
        """Whether all of them were stored now; if not, some may have been, in order."""
        largest = (await self._bus.connected()).max_payload
        messages = [self._message(recorded, largest) for recorded in events]
        chained = [
            message._replace(headers=f"{message.headers}Nats-Expected-Last-Msg-Id: {ids.spell('evt', before.id)}\r\n")
            for before, message in zip(events, messages[1:], strict=False)
        ]
        try:
            return await self._pages.publish([messages[0], *chained])
        except BadRequestError as error:
            if error.err_code != _WRONG_LAST_MESSAGE:
                raise
            return False

    async def _tell_one_by_one(self, events: list[Recorded]) -> None:
        largest = (await self._bus.connected()).max_payload
        for recorded in events:
            await self._pages.publish([self._message(recorded, largest)])

    def _message(self, recorded: Recorded, largest_bytes: int) -> Message:
        address = self._addresses.get(recorded.stream) or _other_address(recorded)
        event, body = recorded.event, recorded.data
        if isinstance(event, TaskEvent):
            kind, verb = kind_of(event), verb_of(event)
        else:
            kind = recorded.kind
            verb = kind.split(".")[1]
        fact_id = ids.spell("evt", recorded.id)
        headers = (
            f"Nats-Msg-Id: {fact_id}\r\nce-id: {fact_id}\r\nce-type: {kind}\r\nce-time: {recorded.at.isoformat()}\r\n"
            f"ce-sequence: {recorded.version}\r\n{address.headers}"
        )
        if len(body) > largest_bytes - _HEADERS_BYTES:
            # The server would end the connection, and every later fact would wait for ever behind this one.
            headers += f"daybook-omitted-bytes: {len(body)}\r\n"
            body = b""
        return Message(f"{address.prefix}.{verb}", headers, body)

    async def _learn_addresses(self, events: list[Recorded]) -> None:
        known = self._addresses
        missing = set()
        for recorded in events:
            if (address := _first_address(recorded)) is not None:
                known[recorded.stream] = address
            elif recorded.stream in known:
                known.move_to_end(recorded.stream)
            elif recorded.kind.startswith(_ADDRESSED):  # those of a newer release too
                missing.add(recorded.stream)
        if missing:
            for stream, first in (await self._log.load_first(list(missing))).items():
                if (address := _first_address(first)) is not None:
                    known[stream] = address
        while len(known) > _ADDRESSES:
            known.popitem(last=False)


def verb_of(event: TaskEvent) -> str:
    """The last token of a fact's subject: the status that it leads to, or what happened when the status stays as it was."""
    return "cancel_requested" if isinstance(event, TaskCancelRequested) else str(status_after(event))


def _first_address(recorded: Recorded) -> _Address | None:
    """Where the facts of a stream are told whose first event this is; None for any other event."""
    match recorded.event:
        case TaskSubmitted(owner=owner, app=app):
            return _address(recorded.namespace, owner, app, ids.spell("tsk", recorded.stream))
        case ScheduleCreated(owner=owner, work=work):
            return _address(recorded.namespace, owner, work.app, ids.spell("sch", recorded.stream))
        case WebhookCreated(owner=owner):
            return _address(recorded.namespace, owner, "webhook", ids.spell("whk", recorded.stream))
        case _:
            return None


def _other_address(recorded: Recorded) -> _Address:
    """Where facts about apps, tokens and whatever a newer release may write are told."""
    event = recorded.event
    if isinstance(event, AppPublished):
        app, public_id = event.app, ids.spell("app", recorded.stream)
    else:
        app, public_id = recorded.kind.split(".")[0], ids.spell("tok", recorded.stream)
    return _address(recorded.namespace, "system", app, public_id)
