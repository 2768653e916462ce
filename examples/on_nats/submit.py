"""Submits a task by request and reply, waits for its end, and prints the task and its result. Any client of NATS can do the
same, in any language: a request is a subject and some JSON.

    python examples/on_nats/submit.py hello.greet '{"name": "Ada"}'

Who asks is what the subject says, and NATS' permissions see to that: here the owner `local`, to whom the token of a
`daybook up` belongs, or the third argument. Where NATS is comes from NATS_URL or DAYBOOK_NATS_URL, else from the
`.daybook` folder of a `daybook up`.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import nats


async def main(app: str = "hello.greet", given: str = "{}", owner: str = "local") -> None:
    """Submit, wait, print."""
    url = os.environ.get("NATS_URL") or os.environ.get("DAYBOOK_NATS_URL")
    connection = await nats.connect(url or json.loads(Path(".daybook/env.json").read_text())["nats_url"])

    async def ask(verb: str, asked: Any, **headers: str) -> bytes:
        answer = await connection.request(f"daybook.default.{owner}.api.{verb}", json.dumps(asked).encode(), timeout=35, headers=headers)
        if answer.headers and "Nats-Service-Error-Code" in answer.headers:
            raise SystemExit(f"refused: {answer.data.decode()}")
        return answer.data

    # With a key, asking again after an answer that never came submits nothing twice.
    headers = {"Idempotency-Key": str(uuid4()), "Prefer": "wait=30"}
    task = json.loads(await ask("tasks.submit", {"app": app, "input": json.loads(given)}, **headers))
    print(task["id"], task["status"])
    print((await ask("tasks.result", {"id": task["id"]})).decode())
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
