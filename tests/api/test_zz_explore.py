import sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parents[2]))
import json, asyncio
from tests.services import *
from daybook import App
import structlog, logging
structlog.configure(processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()], wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
app = App("t")
@app.task
async def echo(value: str = "x") -> str:
    return value

async def test_explore(postgres, template_database, nats_server):
    async with fresh_database(postgres, template_database) as url:
        s = Settings(database_url=url, nats_url=nats_server.url)
        async with running_services(s, app) as sv:
            t = await sv.token()
            async with sv.client(t) as c:
                async def show(m, p, **k):
                    r = await c.request(m, p, **k)
                    print(m, p[:60], r.status_code, dict(r.headers), r.text[:300].replace("\n"," "))
                    return r
                r = await show("POST","/v1/tasks",json={"app":"t.echo","input":{"value":"hi"}},headers={"Prefer":"wait=5"})
                for m in ("PUT","DELETE","HEAD","OPTIONS","TRACE","PATCH"):
                    await show(m,"/v1/tasks")
                await show("GET","/v1/tasks?status=a&status=b")
                await show("GET","/v1/tasks?label=a:b&label=a:c")
                await show("GET","/v1/tasks?app=%ED%A0%80")
                await show("GET","/v1/tasks?app=%00")
                await show("GET","/v1/tasks?label=%ED%A0%80:%ED%A0%80")
                await show("GET","/v1/tasks?since=%ED%A0%80")
                await show("GET","/v1/tasks?since=0001-01-01T00:00:00%2B14:00")
                await show("GET","/v1/tasks?until=9999-12-31T23:59:59-14:00")
                await show("GET","/v1/tasks?cursor=%FF")
                await show("GET","/v1/tasks?app=&limit=5")
                await show("GET","/v1/tasks", headers={"Daybook-Position": "9"*5000+":1"})
                await show("GET","/v1/apps/%00")
                await show("GET","/v1/apps/%ED%A0%80")
                await show("GET","/v1/tasks/%2F/result")
                await show("GET","/_openapi"); await show("GET","/_openapi/openapi.json"); await show("GET","/schema")
                await show("GET","/nothing"); await show("GET","/v1/tasks/"); await show("GET","//v1//tasks")
                await show("POST","/v1/tasks",content=b"x"*(1<<20)+b"y",headers={"content-type":"application/json"})
                async def gen():
                    for _ in range(20): yield b" "*100000
                await show("POST","/v1/tasks",content=gen(),headers={"content-type":"application/json"})
                await show("POST","/v1/tasks",content=b"{}",headers=[("content-type","application/json"),("content-type","text/plain")])
                await show("POST","/v1/tasks",content=b'{"app":"t.echo","input":{"value":{"a":1e400}}}')
                await show("POST","/v1/tasks",content=b'{"app":"t.echo","input":{"value":"\xff"}}')
                await show("POST","/v1/tasks",content=b'{"app":"t.echo","input":{"value":'+b"1"*5000+b"}}")
                await show("POST","/v1/tasks",content=b'{"app":"t.echo","priority":'+b"1"*5000+b"}")
                await show("POST","/v1/tasks",content=b'{"app":"t.echo","delay":'+b"1"*5000+b"}")
                await show("POST","/v1/tasks",content=b'{"app":"t.echo","delay":1e308}')
                await show("POST","/v1/tasks",content=b'{"app":"t.echo","delay":true}')
                await show("POST","/v1/tasks",content=b'{"app":"t.echo","labels":{"a":3}}')
                await show("POST","/v1/tasks",content=b'{"app":"t.echo","input":{"value":3, "other": 4}}')
                await show("POST","/v1/tasks",content=b'{"app":"\\ud800"}')
                await show("POST","/v1/tasks",content=b'{"app":"t.echo","input":{"value":"\\u0000"}}')
                await show("POST","/v1/tasks",content=b'[]')
                await show("POST","/v1/tasks",content=b'')
                await show("POST","/v1/tasks",json={"app":"t.echo","run_at":"0001-01-01T00:00:00+14:00"})
                await show("POST","/v1/tasks",json={"app":"t.echo","run_at":"9999-12-31T23:59:59-14:00"})
                await show("POST","/v1/tasks",json={"app":"t.echo","run_at":"2027-12-31T23:59:59-14:00"})
                await show("GET","/livez"); await show("GET","/readyz")
                r = await c.get("/openapi.json"); d=r.json(); print(json.dumps(d,indent=1)[:6000]); open("/tmp/openapi.json","w").write(json.dumps(d,indent=1))
