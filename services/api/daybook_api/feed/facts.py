"""What the feed tells: facts about tasks and schedules, each with the app and the owner whose it is, and facts about apps.

Only the first event of a stream says whose it is, so that is remembered for the streams of late, and looked up for the
others, all those of a page at once. Facts about tokens, and whatever else is nobody's business, are told to nobody.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from daybook import ids
from daybook.domain.events import AppPublished, TaskEvent, TaskSubmitted, kind_of
from daybook.domain.schedule_events import SCHEDULE_EVENTS, ScheduleCreated
from daybook.domain.status import status_after
from daybook.log.envelope import Cursor, Page, Recorded, Unreadable
from daybook.log.postgres import Log
from daybook.relay import verb_of

from ..watching import sse
from ..watching.told import FACT_NAMES
from . import cursor as feed_cursor
from .schemas import FeedEventView

_REMEMBERED: Final = 50_000
_GROUPS: Final = {"task": "task", "schedule": "schedule", "slot": "slot", "slots": "slot"}
_PREFIXES: Final = ("task.", "schedule.", "slot.", "slots.")
_ENCODE: Final = msgspec.json.Encoder().encode
_DATA: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _name(kind: str) -> str:
    """A kind less its version."""
    return kind.rpartition(".v")[0]


NAMES: Final = frozenset(FACT_NAMES | {_name(kind_of(event)) for event in SCHEDULE_EVENTS} | {_name(kind_of(AppPublished))})
"""What the events of the feed are called."""
GROUPS: Final = frozenset({*_GROUPS.values(), "app"})
"""What stands for all names that begin so; `slot` for `slots.skipped` too."""


class Known(NamedTuple):
    """What the first event of a stream says of all of them."""

    owner: str
    app: str
    schedule: str
    """The schedule itself, or the one that submitted the task; empty where there is none."""


class Fact:
    """One event as the feed tells it: made once, and told as the same bytes to all who may see it."""

    __slots__ = ("_encoded", "_frame", "_id", "app", "cursor", "group", "lane", "name", "namespace", "owner", "position", "recorded", "schedule", "subject")

    def __init__(self, recorded: Recorded, cursor: Cursor, name: str, group: str, owner: str | None, app: str, schedule: str, subject: str) -> None:
        self.recorded = recorded
        self.namespace = recorded.namespace
        self.lane = recorded.lane
        self.position = recorded.position
        self.cursor: Final = cursor
        """The place right behind this event, in the order of the page that it came in."""
        self.name: Final = name
        self.group: Final = group
        self.owner: Final = owner
        """None where it is nobody's: then everybody in the namespace may see it."""
        self.app: Final = app
        self.schedule: Final = schedule
        self.subject: Final = subject
        self._id = ""
        self._encoded = b""
        self._frame = b""

    @property
    def id(self) -> str:
        """The place right behind it, as clients get it."""
        if not self._id:
            self._id = feed_cursor.spell(self.cursor, self.namespace)
        return self._id

    def frame(self, id_: str = "") -> bytes:
        """As a server-sent event: with its own id, or with that of a client who has seen more of other lanes."""
        if id_:
            return sse.frame(self.name, self.encoded(), id_)
        if not self._frame:
            self._frame = sse.frame(self.name, self.encoded(), self.id)
        return self._frame

    def encoded(self) -> bytes:
        """As JSON."""
        if not self._encoded:
            recorded, event = self.recorded, self.recorded.event
            view = FeedEventView(
                id=ids.spell("evt", recorded.id),
                event=self.name,
                kind=recorded.kind,
                subject=self.subject,
                version=recorded.version,
                at=recorded.at,
                owner=self.owner,
                app=self.app,
                status=str(status_after(event)) if isinstance(event, TaskEvent) else None,
                data=_said(recorded),
            )
            self._encoded = _ENCODE(view)
        return self._encoded


class Stretch(NamedTuple):
    """All that the feed may tell between two places of the log, in order."""

    before: Cursor
    facts: list[Fact]
    after: Cursor


class Facts:
    """Makes facts of pages of the log; remembers what the streams of late are about."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._known: OrderedDict[UUID, Known | None] = OrderedDict()

    async def of_page(self, page: Page) -> Stretch:
        """The page's facts. Raises the connection's error when the database is away."""
        known = await self._learn(page.events)
        positions = list(page.before)
        facts = []
        for recorded in page.events:
            positions[recorded.lane] = recorded.position
            if (fact := _fact(recorded, known, positions)) is not None:
                facts.append(fact)
        return Stretch(page.before, facts, page.after)

    async def _learn(self, events: list[Recorded]) -> dict[UUID, Known | None]:
        """What the streams of these events are about. Returned as well as remembered: a page may hold more than is remembered."""
        remembered = self._known
        found: dict[UUID, Known | None] = {}
        missing = set()
        for recorded in events:
            stream = recorded.stream
            if stream in found or not recorded.kind.startswith(_PREFIXES):
                continue
            if recorded.version == 1:
                found[stream] = _known(recorded)
            elif stream in remembered:
                found[stream] = remembered[stream]
                remembered.move_to_end(stream)
            else:
                missing.add(stream)
        if missing:
            firsts = await self._log.load_first(list(missing))
            found.update((stream, _known(firsts[stream]) if stream in firsts else None) for stream in missing)
        remembered.update(found)
        while len(remembered) > _REMEMBERED:
            remembered.popitem(last=False)
        return found


def split(stretch: Stretch, size: int) -> list[Stretch]:
    """The same in parts of at most `size` facts."""
    facts = stretch.facts
    if len(facts) <= size:
        return [stretch]
    parts, before = [], stretch.before
    for start in range(0, len(facts), size):
        part = list(islice(facts, start, start + size))
        after = stretch.after if start + size >= len(facts) else part[-1].cursor
        parts.append(Stretch(before, part, after))
        before = after
    return parts


def _known(first: Recorded) -> Known | None:
    match first.event:
        case TaskSubmitted(owner=owner, app=app, schedule=schedule):
            return Known(owner, app, schedule)
        case ScheduleCreated(owner=owner, work=work):
            return Known(owner, work.app, ids.spell("sch", first.stream))
        case _:
            return None


def _fact(recorded: Recorded, streams: dict[UUID, Known | None], positions: Sequence[int]) -> Fact | None:
    """The fact, or None for what is not told: what is about something else, and what nobody knows whose it is."""
    event = recorded.event
    if isinstance(event, AppPublished):
        return Fact(recorded, tuple(positions), "app.published", "app", None, event.app, "", ids.spell("app", recorded.stream))
    kind = recorded.kind
    group = _GROUPS.get(kind.partition(".")[0])
    known = None if group is None else streams.get(recorded.stream)
    if group is None or known is None:
        return None
    # What a newer release writes is told too: by its name alone, since nobody here knows what it leads to.
    name = f"task.{verb_of(event)}" if isinstance(event, TaskEvent) else _name(kind)
    subject = ids.spell("tsk" if group == "task" else "sch", recorded.stream)
    return Fact(recorded, tuple(positions), name, group, known.owner, known.app, known.schedule, subject)


def _said(recorded: Recorded) -> dict[str, Any]:
    """What is stored, less the kind that stands beside it."""
    try:
        data = _DATA.decode(recorded.data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        if not isinstance(recorded.event, Unreadable):
            raise
        return {}  # text that cannot be read cannot be told, and must not stop what comes after it
    data.pop("kind", None)
    return data
