"""An app for the tests of kept output: it speaks in every way there is, then waits at the test's gate."""

import logging
import os
import socket
import sys

import structlog

from daybook import App, Context

app = App("speak")
log = structlog.get_logger()
print("imported")


@app.task
def aloud(ctx: Context) -> str:
    """Print, log and warn, knock, and wait to be let through."""
    print(f"printed in {ctx.attempt}")
    print("\x1b[31mcareful\x1b[0m", file=sys.stderr)
    logging.getLogger("shop").info("logged", extra={"order": 7})
    log.info("struck", order=8)
    ctx.chunk(f"text of {ctx.attempt}")
    print("half a line", end="")
    print(" and the rest")
    with socket.create_connection(("127.0.0.1", int(os.environ["HOUSE_GATE"]))) as connection:
        connection.sendall(f"{ctx.task_id}\n".encode())
        word = connection.makefile().readline().strip()
    print("at last", end="")
    return word
