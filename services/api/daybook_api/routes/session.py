"""/v1/session: a browser logs in by a one-time link, asks who it is, and logs out."""

from typing import Final

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency

from daybook.access import begin_session, end_session, split

from .. import bodies, sessions
from ..gateway import Gateway, answer
from ..problems import Problem
from ..requests import HttpRequest, media_type, query

_LOGIN: Final = msgspec.json.Decoder(sessions.LoginRequest)


@post("/session", operation_id="logIn", tags=["session"], status_code=200)
async def login_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """Log in by the code of a one-time link. The session is kept in a cookie that no script can read.

    `daybook up` and `daybook login` print links. A link is good once, and for a quarter of an hour. A session has the
    owner, namespace and scopes of its link, and ends after 30 days, or by logging out.
    """
    query(request)
    # Else the page of another site could log somebody in as somebody else.
    sessions.require_own_page(request)
    media_type(request, "application/json")
    wish = bodies.decode(_LOGIN, await request.body())
    begun = await begin_session(gateway.log, wish.code)
    if begun is None:
        detail = "This link is not good, or not any more: it is good once, and for a quarter of an hour."
        raise Problem("forbidden", detail, hint="`daybook login` prints another.")
    token, who = begun
    return answer(sessions.session_view(who, token), headers=sessions.keep(request, token))


@get("/session", operation_id="getSession", tags=["session"])
async def get_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """Who is asking: by a session, or by a token."""
    who = await gateway.access.authenticate(request, "read")
    query(request)
    return answer(sessions.session_view(who, sessions.token_of(request)), headers={"Cache-Control": "no-store"})


@delete("/session", operation_id="logOut", tags=["session"], status_code=204)
async def logout_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[None]:
    """Log out: the session is over, and the browser forgets its cookie. Where there is none, that is so already."""
    query(request)
    token = sessions.token_of(request)
    parts = None if token is None else split(token)
    if token is not None and parts is not None:
        sessions.require_intent(request, token)
        # Who has not proved to have it cannot have it forgotten.
        if await end_session(gateway.log, token):
            gateway.access.forget(parts[0])
    return Response(None, status_code=204, headers=sessions.forget(request))
