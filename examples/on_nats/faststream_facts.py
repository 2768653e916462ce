"""Facts in FastStream, from a consumer that NATS keeps for you: what was told while you were away comes when you are back.

    python examples/on_nats/faststream_facts.py        # until Ctrl-C
    python examples/on_nats/faststream_facts.py 3      # until it has seen three

A fact comes at least once, and those of one task come in order: whoever acts on them remembers `ce-sequence` for each
`ce-subject`. The stream holds a day; where more than that was missed, `GET /v1/events` and `/v1/tasks/{id}/events` know
it. Where NATS is comes from NATS_URL or DAYBOOK_NATS_URL, else from the `.daybook` folder of a `daybook up`.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, Final

from faststream import FastStream
from faststream.nats import DeliverPolicy, JStream, NatsBroker, NatsMessage, PullSub

_FACTS: Final = JStream("DAYBOOK_FACTS", declare=False)


def make(url: str, most: int | None) -> FastStream:
    """The application; it ends by itself after `most` facts."""
    broker = NatsBroker(url, max_reconnect_attempts=-1, logger=None)
    app = FastStream(broker, logger=None)
    seen = 0

    @broker.subscriber("daybook.*.*.fact.>", stream=_FACTS, durable="faststream-example", deliver_policy=DeliverPolicy.NEW, pull_sub=PullSub())
    async def told(fact: dict[str, Any] | bytes, message: NatsMessage) -> None:
        nonlocal seen
        headers = message.headers
        print(headers["ce-subject"], headers["ce-sequence"], headers["ce-type"], fact or "(too large for a message)", flush=True)
        seen += 1
        if seen == most:
            app.exit()

    @app.after_startup
    async def ready() -> None:
        print("listening", flush=True)

    return app


if __name__ == "__main__":
    address = os.environ.get("NATS_URL") or os.environ.get("DAYBOOK_NATS_URL")
    count = int(sys.argv[1]) if sys.argv[1:] else None
    asyncio.run(make(address or json.loads(Path(".daybook/env.json").read_text())["nats_url"], count).run())
