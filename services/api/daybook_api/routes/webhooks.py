"""Everything under /v1/webhooks, and /v1/tasks/{id}/deliveries: who is told when tasks end, and whether they were."""

from typing import Final

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from daybook import ids
from daybook.access import Principal
from daybook.projections.listing import TaskFilter, list_tasks
from daybook.projections.webhook import WebhookFilter, list_webhooks
from daybook.webhooks import APP, labels_of

from .. import bodies, lists
from ..gateway import Gateway, answer, written
from ..requests import HttpRequest, media_type, query
from ..schemas import TaskList
from ..submission import checked_key
from ..views import summary
from ..webhook_schemas import CreateWebhookRequest, SecretView, WebhookList
from ..webhooks import listed_view, webhook_view

_JSON: Final = "application/json"
_CREATE: Final = msgspec.json.Decoder(CreateWebhookRequest)
_LISTED: Final = lists.PAGING | {"owner"}
_PRIVATE: Final = {"Cache-Control": "no-store"}


@post("/webhooks", operation_id="createWebhook", tags=["webhooks"], status_code=201)
async def create_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """Make a webhook: its URL is told whenever a task ends, from now on."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    media_type(request, _JSON)
    key = request.headers.get("idempotency-key")
    found = await gateway.webhooks.create(bodies.decode(_CREATE, await request.body()), who, None if key is None else checked_key(key))
    more = {"Location": f"/v1/webhooks/{found.name}"} | ({"Idempotency-Replayed": "true"} if found.replayed else {})
    return answer(webhook_view(found), status=201, headers=written(found.position, 1) | more)


@get("/webhooks", operation_id="listWebhooks", tags=["webhooks"])
async def list_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """Webhooks, newest first."""
    who = await gateway.access.authenticate(request, "read")
    given = query(request, _LISTED)
    single = {name: values[0] for name, values in given.items()}
    wanted = WebhookFilter(namespace=who.namespace, owner=lists.owner_of(who, single.get("owner")))
    size = lists.limit_of(single.get("limit"))
    await lists.catch_up(gateway.log, request)
    with lists.cursors_checked():
        rows, following = await list_webhooks(gateway.log.pool, wanted, limit=size, cursor=single.get("cursor"))
    return answer(WebhookList(items=[listed_view(row) for row in rows], next_cursor=following), headers=lists.link(request, given, following))


@get("/webhooks/secret", operation_id="getOwnSecret", tags=["webhooks"])
async def own_secret_route(request: HttpRequest, gateway: NamedDependency[Gateway]) -> Response[bytes]:
    """What messages are signed with that go to the `on_finish` of one's own tasks."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    return answer(SecretView(secret=await gateway.webhooks.own_secret(who)), headers=_PRIVATE)


@get("/webhooks/{webhook_id:str}", operation_id="getWebhook", tags=["webhooks"])
async def get_route(request: HttpRequest, gateway: NamedDependency[Gateway], webhook_id: FromPath[str]) -> Response[bytes]:
    """One webhook."""
    who = await gateway.access.authenticate(request, "read")
    query(request)
    return answer(webhook_view(await gateway.webhooks.find(webhook_id, who)))


@delete("/webhooks/{webhook_id:str}", operation_id="deleteWebhook", tags=["webhooks"], status_code=204)
async def delete_route(request: HttpRequest, gateway: NamedDependency[Gateway], webhook_id: FromPath[str]) -> Response[None]:
    """End a webhook for good. What is on its way still arrives."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    found = await gateway.webhooks.find(webhook_id, who, deleted=True)
    position = found.position if found.deleted else await gateway.webhooks.delete(found, who)
    return Response(None, status_code=204, headers=written(position, 2))


@get("/webhooks/{webhook_id:str}/secret", operation_id="getWebhookSecret", tags=["webhooks"])
async def secret_route(request: HttpRequest, gateway: NamedDependency[Gateway], webhook_id: FromPath[str]) -> Response[bytes]:
    """What this webhook's messages are signed with."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    found = await gateway.webhooks.find(webhook_id, who)
    return answer(SecretView(secret=await gateway.webhooks.secret(found)), headers=_PRIVATE)


@post("/webhooks/{webhook_id:str}/test", operation_id="testWebhook", tags=["webhooks"], status_code=202)
async def test_route(request: HttpRequest, gateway: NamedDependency[Gateway], webhook_id: FromPath[str]) -> Response[bytes]:
    """Send a message of the type `webhook.test` now. The answer is its delivery."""
    who = await gateway.access.authenticate(request, "submit")
    query(request)
    delivery = await gateway.webhooks.try_out(await gateway.webhooks.find(webhook_id, who))
    found = await gateway.find(delivery, who)
    path = f"/v1/tasks/{delivery}"
    return answer(await gateway.view(found), status=202, headers=written(None, found.task.version) | {"Location": path, "Operation-Location": path})


@get("/webhooks/{webhook_id:str}/deliveries", operation_id="listWebhookDeliveries", tags=["webhooks"])
async def deliveries_route(request: HttpRequest, gateway: NamedDependency[Gateway], webhook_id: FromPath[str]) -> Response[bytes]:
    """What was sent, or is to be, newest first: each delivery is a task, and its attempts tell how it went."""
    who = await gateway.access.authenticate(request, "read")
    found = await gateway.webhooks.find(webhook_id, who, deleted=True)
    return await _deliveries(request, gateway, who, labels_of(webhook=found.name))


@get("/tasks/{task_id:str}/deliveries", operation_id="listTaskDeliveries", tags=["webhooks"])
async def of_task_route(request: HttpRequest, gateway: NamedDependency[Gateway], task_id: FromPath[str]) -> Response[bytes]:
    """Who was told, or is to be, of this task's ends."""
    who = await gateway.access.authenticate(request, "read")
    found = await gateway.find(task_id, who)
    return await _deliveries(request, gateway, who, labels_of(ids.spell("tsk", found.stream)))


async def _deliveries(request: HttpRequest, gateway: Gateway, who: Principal, labels: dict[str, str]) -> Response[bytes]:
    given = query(request, lists.PAGING)
    single = {name: values[0] for name, values in given.items()}
    wanted = TaskFilter(namespace=who.namespace, owner=lists.owner_of(who, None), app=APP, labels=labels)
    size = lists.limit_of(single.get("limit"))
    await lists.catch_up(gateway.log, request)
    with lists.cursors_checked():
        rows, following = await list_tasks(gateway.log.pool, wanted, limit=size, cursor=single.get("cursor"))
    return answer(TaskList(items=[summary(row) for row in rows], next_cursor=following), headers=lists.link(request, given, following))
