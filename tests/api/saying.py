"""Saying things in the name of an attempt that is running, so that a test decides what arrives, and when."""

from tests.bus.parts import settled
from tests.services import Services

from daybook.bus import subjects


async def say(services: Services, owner: str, task_id: str, numbers: range, text: str = "word", app: str = "t.gated", attempt: int = 1) -> None:
    """Say chunks in the name of an attempt; returns when they are on their way to everybody."""
    nats = await services.api.gateway.bus.connected()
    for number in numbers:
        word = f'{{"type":"chunk","attempt":{attempt},"n":{number},"text":"{text}"}}'
        await nats.publish(subjects.live("default", owner, app, task_id), word.encode())
    await settled(nats)
