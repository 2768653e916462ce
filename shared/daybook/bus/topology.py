"""Every stream and consumer there is, as data, and the one function that makes them so.

All of it can be deleted at any moment without losing a task: the log is in Postgres, and what was told or rung is told
and rung again. So `ensure` runs at start, again whenever something turns out to be missing, and every few seconds
besides.
"""

from datetime import datetime
from typing import Final, NamedTuple

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from . import subjects

FACTS: Final = "DAYBOOK_FACTS"
LIVE: Final = "DAYBOOK_LIVE"
WORK: Final = "DAYBOOK_WORK"

DUPLICATE_WINDOW_SECONDS: Final = 30
_DAY_SECONDS: Final = 24 * 3600
_ACK_WAIT_SECONDS: Final = 30

STREAMS: Final = (
    StreamConfig(
        name=FACTS,
        description="Every committed event, as CloudEvents. A copy: the log is in Postgres.",
        subjects=[subjects.FACTS],
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        max_age=_DAY_SECONDS,
        max_bytes=1 << 30,
        duplicate_window=DUPLICATE_WINDOW_SECONDS,
        allow_direct=True,
    ),
    StreamConfig(
        name=LIVE,
        description="What running attempts say: progress, log lines, chunks.",
        subjects=[subjects.LIVE],
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.OLD,
        max_age=_DAY_SECONDS,
        max_bytes=1 << 29,
        max_msgs_per_subject=10_000,
        duplicate_window=1,
        allow_direct=True,
    ),
    StreamConfig(
        name=WORK,
        description="Doorbells: ids of tasks that are ready. Lost ones are rung again.",
        subjects=[subjects.WORK],
        storage=StorageType.MEMORY,
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.OLD,
        max_age=600,
        max_bytes=1 << 26,
        duplicate_window=1,
    ),
)


def consumer_of(queue: str) -> ConsumerConfig:
    """The one consumer that all runners of a queue share."""
    return ConsumerConfig(
        durable_name=f"work-{queue}",
        filter_subject=subjects.work(queue),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=_ACK_WAIT_SECONDS,
        max_ack_pending=10_000,
        max_waiting=2_048,
    )


class Ensured(NamedTuple):
    """What was missing and was made just now, and when each stream was made: another time is another, emptied stream."""

    made: list[str]
    made_at: tuple[datetime, ...]


async def ensure(js: JetStreamContext, queues: tuple[str, ...] = ()) -> Ensured:
    """Make what is missing. What exists is left as it is, whatever an operator made of its limits."""
    made: list[str] = []
    made_at: list[datetime] = []
    for stream in STREAMS:
        try:
            found = await js.stream_info(str(stream.name))
        except NotFoundError:
            found = await js.add_stream(stream)
            made.append(str(stream.name))
        assert found.created is not None
        made_at.append(found.created)
    for queue in queues:
        consumer = consumer_of(queue)
        try:
            await js.consumer_info(WORK, str(consumer.durable_name))
        except NotFoundError:
            await js.add_consumer(WORK, consumer)
            made.append(str(consumer.durable_name))
    return Ensured(made, tuple(made_at))
