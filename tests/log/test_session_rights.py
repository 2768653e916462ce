"""The API may turn a login link into a session, and end a session; it makes no token by itself."""

from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from uuid import UUID

import asyncpg
import msgspec
import pytest
from tests.log.samples import append_of, send

from daybook import clock, ids
from daybook.domain.events import TokenIssued, TokenRevoked
from daybook.log import codec
from daybook.log.connections import Connection, connect
from daybook.log.sql import statements

SQL = statements("daybook.log")
SECRET = "what the link's owner alone knows"
DIGEST = sha256(b"what the browser alone knows").digest()
LINK = TokenIssued(owner="Zoë", scopes=("read",), label="a link", expires_at=clock.after(86_400), use="login")
MONTH = timedelta(days=30)


async def issued(owner: Connection, event: TokenIssued = LINK) -> UUID:
    """A token of somebody else's namespace."""
    stream = ids.new_id()
    await send(owner, "owner", [append_of(stream, 1, event, namespace="elsewhere", payload=sha256(SECRET.encode()).digest())])
    return stream


async def begun(connection: Connection, link: UUID, secret: str = SECRET, digest: bytes = DIGEST, lifetime: timedelta = MONTH) -> UUID | None:
    """The session's stream, if there is one now."""
    row = await connection.fetchrow(SQL["begin_session"], link, secret, ids.new_id(), digest, lifetime)
    return None if row is None else UUID(str(row["stream"]))


async def test_a_link_gives_what_it_has_and_no_more(url_as: Callable[[str], str], owner: Connection) -> None:
    api = await connect(url_as("daybook_api"), "daybook_api")
    link = await issued(owner)
    session = await begun(api, link, lifetime=timedelta(days=3650))
    assert session == ids.derive_id("session", str(link))
    row = await owner.fetchrow("SELECT kind, namespace, data, payload, version FROM log.event WHERE stream = $1", session)
    assert row is not None
    assert (row["namespace"], row["payload"], row["version"]) == ("elsewhere", DIGEST, 1)
    event = codec.decode(row["kind"], row["data"])
    assert isinstance(event, TokenIssued)
    assert event == msgspec.structs.replace(LINK, use="session", actor="user:Zoë", expires_at=event.expires_at)
    assert event.expires_at is not None
    assert timedelta(days=29, hours=23) < event.expires_at - clock.now() <= MONTH
    assert await begun(api, link) is None
    await api.close()


async def test_what_is_no_good_link_begins_nothing(url_as: Callable[[str], str], owner: Connection) -> None:
    api = await connect(url_as("daybook_api"), "daybook_api")
    revoked = await issued(owner)
    await send(owner, "owner", [append_of(revoked, 2, TokenRevoked())])
    link = await issued(owner)
    refused = [
        await begun(api, link, "another secret"),
        await begun(api, link, SECRET, b"too short"),
        await begun(api, ids.new_id()),
        await begun(api, revoked),
        *[
            await begun(api, await issued(owner, msgspec.structs.replace(LINK, **changed)))
            for changed in ({"use": ""}, {"use": "session"}, {"expires_at": None}, {"expires_at": clock.after(-1)})
        ],
    ]
    assert refused == [None] * 8
    assert await owner.fetchval("SELECT count(*) FROM log.event WHERE data ->> 'actor' LIKE 'user:%'") == 0
    await api.close()


async def test_a_session_is_ended_by_who_has_its_secret_and_nothing_else_is(url_as: Callable[[str], str], owner: Connection) -> None:
    api = await connect(url_as("daybook_api"), "daybook_api")
    session = await issued(owner, msgspec.structs.replace(LINK, use="session"))
    bearer, link = await issued(owner, msgspec.structs.replace(LINK, use="")), await issued(owner)
    tries = ((session, "another secret"), (bearer, SECRET), (link, SECRET), (ids.new_id(), SECRET))
    assert [await api.fetchval(SQL["end_session"], stream, secret, ids.new_id()) for stream, secret in tries] == [False] * 4
    assert [await api.fetchval(SQL["end_session"], session, SECRET, ids.new_id()) for _ in range(2)] == [True, False]
    revoked = await owner.fetch("SELECT stream, namespace, data FROM log.event WHERE kind = 'token.revoked.v1'")
    assert [(row["stream"], row["namespace"]) for row in revoked] == [(session, "elsewhere")]
    assert codec.decode("token.revoked.v1", revoked[0]["data"]) == TokenRevoked(actor="user:Zoë", reason="logged out")
    await api.close()


@pytest.mark.parametrize("role", ["daybook_scheduler", "daybook_runner", "daybook_projector", "daybook_janitor", "daybook_guest"])
async def test_sessions_are_the_business_of_the_api_alone(role: str, url_as: Callable[[str], str], owner: Connection) -> None:
    link = await issued(owner)
    connection = await connect(url_as(role), role)
    for what in (begun(connection, link), connection.fetchval(SQL["end_session"], link, SECRET, ids.new_id())):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await what
    await connection.close()
    api = await connect(url_as("daybook_api"), "daybook_api")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await api.fetchval("SELECT log._token($1, $2)", link, SECRET)
    await api.close()
