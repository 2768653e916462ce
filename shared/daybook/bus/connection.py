"""A connection to NATS that reads on, whatever a message looks like.

Whoever may publish decides what stands in a message's headers and where its reply is to go, and the server passes both on
as they are. The client takes them for text while it reads from the socket, and one that is none ends its reading for good:
connected as before, it hears nothing any more until its pings time out. Here such a message is dropped, as if it had been
lost, and the next one is read.
"""

import nats.errors
from nats.aio.client import Client


class MessageUnreadable(nats.errors.Error):
    """A message was dropped, since its header or its reply subject is no text."""

    def __str__(self) -> str:
        # Nothing of the message: what differs from one to the next would be told for each.
        return "nats: a message that cannot be read was dropped"


class SteadyConnection(Client):
    """A `Client` that no message can silence."""

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        try:
            await super()._process_msg(sid, subject, reply, data, headers)
        except (ValueError, LookupError):
            await self._error_cb(MessageUnreadable())
