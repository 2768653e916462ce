"""What happens to anybody's tasks, as it happens: a plain subscriber.

    python examples/on_nats/watch_facts.py

It shows what is told from now on; `follow_exactly_once.py` misses nothing. Where NATS is comes from NATS_URL or
DAYBOOK_NATS_URL, else from the `.daybook` folder of a `daybook up`.
"""

import asyncio
import json
import os
from pathlib import Path

import nats


async def main() -> None:
    """Print a line for each fact."""
    url = os.environ.get("NATS_URL") or os.environ.get("DAYBOOK_NATS_URL")
    connection = await nats.connect(url or json.loads(Path(".daybook/env.json").read_text())["nats_url"])
    facts = await connection.subscribe("daybook.*.*.fact.>")
    print("listening", flush=True)
    async for message in facts.messages:
        headers = message.headers or {}
        print(headers["ce-time"], headers["ce-subject"], headers["ce-sequence"], headers["ce-type"], message.data.decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
