"""Permissions of the NATS server, as the documentation gives them, keep owners apart."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import nats
import nats.errors
import pytest
import pytest_asyncio
from nats.aio.client import Client as Connection
from tests.api.on_nats import Asker
from tests.services import fresh_database, serving_api

from daybook.settings import Settings
from daybook.testing import eventually
from daybook_local.nats import EmbeddedNats
from daybook_local.postgres import EmbeddedPostgres

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "ask-over-nats.md"


class SharedNats(EmbeddedNats):
    """A server with the users that the page describes; each has its name as its password."""

    @property
    def url(self) -> str:
        """As Daybook's own services see it."""
        return self.url_of("api")

    def url_of(self, user: str) -> str:
        """As somebody else sees it."""
        return f"nats://{user}:{user}-password@127.0.0.1:{self.port}"

    def _configuration(self) -> str:
        block = re.search(r"^# nats-server\.conf\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        assert block is not None
        users = re.sub(r"\$(\w+)_PASSWORD", lambda found: f'"{found[1].lower()}-password"', block[1])
        return f'server_name: "{self._server_name()}"\njetstream: {{ store_dir: "{self.store}" }}\n{users}'


@pytest.fixture(scope="module")
def server(session_folder: Path) -> Iterator[SharedNats]:
    """The server."""
    running = SharedNats(session_folder / "nats-with-permissions")
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def refusals() -> list[str]:
    """What the server refused Ada, in small letters."""
    return []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ada(server: SharedNats, postgres: EmbeddedPostgres, template_database: str, refusals: list[str]) -> AsyncIterator[Connection]:
    """Her connection, beside an API that is served."""

    async def refused(error: Exception) -> None:
        refusals.append(str(error).lower())

    async with fresh_database(postgres, template_database) as url, serving_api(Settings(database_url=url, nats_url=server.url)) as served:
        await served.api.gateway.bus.connected()
        connection = await nats.connect(server.url_of("ada"), inbox_prefix="_INBOX_ada", error_cb=refused)
        yield connection
        await connection.close()


async def test_one_asks_in_one_s_own_name(ada: Connection) -> None:
    assert (await Asker(ada, "ada").ask("apps.list")).json == {"items": []}
    assert (await Asker(ada, "ada").ask("tasks.submit", app="no.app")).json["code"] == "unknown-app"


FOREIGN = (
    "daybook.default.bob.api.apps.list",
    "daybook.other.ada.api.apps.list",
    "daybook.default.ada.fact.t.tsk_x.success",
    "daybook.work.default",
    "daybook.poke",
)
UNHEARD = ("_INBOX.>", "_INBOX_bob.>", "daybook.default.bob.fact.>", "daybook.*.*.api.>", "$JS.API.>")


@pytest.mark.parametrize("subject", FOREIGN)
async def test_one_does_not_speak_where_others_do(ada: Connection, refusals: list[str], subject: str) -> None:
    await ada.publish(subject, b"{}", reply="_INBOX_ada.x")
    await eventually(lambda: [said for said in refusals if "permissions violation" in said and subject in said])


@pytest.mark.parametrize("subject", UNHEARD)
async def test_one_does_not_hear_what_is_for_others(ada: Connection, refusals: list[str], subject: str) -> None:
    await ada.subscribe(subject)
    await eventually(lambda: [said for said in refusals if "permissions violation" in said and subject.lower() in said])
