"""`daybook webhook …`: who is told when tasks end, and whether they were."""

from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import App, Parameter

from . import exits
from .exits import Complaint, say
from .options import COMMON, Common, client_for, resolve
from .paging import pages_of
from .printing import print_many, print_one

if TYPE_CHECKING:
    from rich.console import RenderableType

app = App(name="webhook", help="Who is told when tasks end.")

_LISTED: Final = 50
Limit = Annotated[int, Parameter(help="At most so many.")]
WebhookId = Annotated[str, Parameter(help="The webhook's id.")]


@app.command
def create(
    url: str,
    /,
    *,
    event: Annotated[list[str] | None, Parameter(negative=(), help="Only of this: task.success, task.error or task.cancelled; may be repeated.")] = None,
    app: Annotated[str | None, Parameter(help="Only of this app's tasks.")] = None,
    all_owners: Annotated[bool, Parameter(negative=(), help="Of everybody's tasks; for admins.")] = False,
    note: Annotated[str | None, Parameter(help="What it is for.")] = None,
    common: Common = COMMON,
) -> int:
    """Let a URL be told whenever a task ends, from now on.

    Parameters
    ----------
    url
        Where the message is sent, with POST.
    """
    from daybook import ids
    from daybook.client import webhook_requests

    with client_for(common) as client:
        request = webhook_requests.create_webhook(url, key=ids.new_secret(), events=event, app=app, all_owners=all_owners, note=note)
        print_one(common.output, client.request(request).body, _card)
        say("`daybook webhook secret ID` shows what its messages are signed with")
    return exits.OK


@app.command
def ls(*, owner: Annotated[str | None, Parameter(help="Only of this owner.")] = None, limit: Limit = _LISTED, common: Common = COMMON) -> int:
    """List webhooks, newest first."""
    from daybook.client import webhook_requests

    if limit < 1:
        raise Complaint("--limit is at least 1")
    with client_for(common) as client:
        print_many(common.output, pages_of(client, webhook_requests.list_webhooks(owner=owner, limit=limit), limit), _table)
    return exits.OK


@app.command
def rm(webhook_id: WebhookId, /, *, common: Common = COMMON) -> int:
    """End a webhook for good. What is on its way still arrives."""
    with client_for(common) as client:
        client.webhooks.delete(webhook_id)
    return exits.OK


@app.command
def secret(
    webhook_id: Annotated[str | None, Parameter(help="The webhook's id; without it, for --on-finish of your own tasks.")] = None, /, *, common: Common = COMMON
) -> int:
    """Show what messages are signed with."""
    with client_for(common) as client:
        print(client.webhooks.secret(webhook_id))
    return exits.OK


@app.command(name="test")
def try_out(webhook_id: WebhookId, /, *, common: Common = COMMON) -> int:
    """Send a message of the type webhook.test now, and wait until it has arrived."""
    with client_for(common) as client:
        delivery = client.webhooks.test(webhook_id)
        say(f"on its way: daybook task show {delivery.id}")
        delivery.result()
    return exits.OK


@app.command
def deliveries(
    about: Annotated[str, Parameter(help="A webhook's id, or a task's, or @last for the task submitted last.")],
    /,
    *,
    limit: Limit = _LISTED,
    common: Common = COMMON,
) -> int:
    """List what was sent, or is to be, newest first. Each is a task: `daybook task show` tells how it went."""
    from daybook.client import webhook_requests

    from .tables import task_table

    if limit < 1:
        raise Complaint("--limit is at least 1")
    wanted = about if about.startswith("whk_") else resolve(about)
    with client_for(common) as client:
        print_many(common.output, pages_of(client, webhook_requests.list_deliveries(wanted, limit=limit), limit), task_table)
    return exits.OK


def _table(body: bytes) -> "RenderableType":
    import msgspec
    from rich.text import Text

    from daybook.client.webhook_flows import WebhookPage

    from .tables import new_table, plain

    page = msgspec.json.decode(body, type=WebhookPage)
    if not page.items:
        return Text("no webhooks", style="dim")
    table = new_table("ID", "URL", "EVENTS", "APP", "OWNER", "NOTE")
    for each in page.items:
        owner = "everybody" if each.all_owners else each.owner
        table.add_row(each.id, plain(each.url), plain(" ".join(each.events)), plain(each.app or "any"), plain(owner), plain(each.note or ""))
    return table


def _card(body: bytes) -> "RenderableType":
    return _table(b'{"items":[' + body + b"]}")
