"""Open access: without tokens, for this machine alone."""

import httpx2
from msgspec.structs import replace
from tests.services import Services, serving_api

SCHEDULED = {"app": "t.echo", "delay": "1h"}


async def test_where_no_token_is_asked_for_only_this_machine_may_ask(services: Services) -> None:
    async with serving_api(replace(services.settings, open_access=True)) as served:
        port = served.url.rpartition(":")[2]
        async with httpx2.AsyncClient(base_url=served.url, trust_env=False) as program:
            assert (await program.post("/v1/tasks", json=SCHEDULED)).json()["owner"] == "local"
            for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"):
                assert (await program.get("/v1/tasks", headers={"Host": host})).status_code == 200, host
                assert (await program.get("/v1/tasks", headers={"Host": host, "Origin": f"http://{host}"})).status_code == 200
            for headers in (
                {"Origin": "https://example.com"},
                {"Origin": "null"},
                {"Origin": f"http://localhost:{port}1"},
                {"Host": f"rebound.example:{port}"},
            ):
                assert (await program.post("/v1/tasks", json=SCHEDULED, headers=headers)).status_code == 403, headers
            # A token is a token, wherever the request comes from.
            token = await services.token()
            far = {"Authorization": f"Bearer {token}", "Origin": "https://example.com"}
            assert (await program.get("/v1/tasks", headers=far)).status_code == 200
            assert (await program.get("/v1/tasks", headers={"Authorization": "Bearer x"})).status_code == 401
