"""Publishes a page of messages at the cost of one: their frames of the NATS protocol in one write.

The client's own `publish` spends 23 µs on a message with nine headers, nearly all of it on checking and copying header
by header; this spends 3. It is the one place that reaches below the client's public surface (`_send_command` and
`_flush_pending`, the same since nats-py 2.0, pinned below 3 and covered by a test that reads back what it wrote). What
it leaves out, checking, is the caller's: subjects come from `subjects`, and header values are ours and hold no line
breaks.
"""

from collections.abc import Iterable
from typing import Final, TypeAlias

import nats.errors
from nats.aio.client import Client

Message: TypeAlias = tuple[str, bytes, dict[str, str]]
"""Subject, body, headers."""

_VERSION_LINE: Final = "NATS/1.0\r\n"


async def publish_page(client: Client, messages: Iterable[Message]) -> None:
    """Send these messages, in order, without waiting for anything. Raises the client's error while it is not connected:
    a page is not worth buffering."""
    if not client.is_connected:
        raise nats.errors.ConnectionReconnectingError
    await client._send_command(b"".join(map(_frame, messages)))  # noqa: SLF001
    await client._flush_pending()  # noqa: SLF001


def _frame(message: Message) -> bytes:
    subject, body, headers = message
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    head = f"{_VERSION_LINE}{''.join(lines)}\r\n".encode()
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (subject.encode(), len(head), len(head) + len(body), head, body)
