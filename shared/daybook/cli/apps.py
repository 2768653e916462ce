"""`daybook app …`: what can be run."""

from cyclopts import App

from . import exits
from .options import COMMON, Common, client_for
from .printing import print_many, print_one

app = App(name="app", help="What can be run.")


@app.command
def ls(*, common: Common = COMMON) -> int:
    """List the apps that runners have published."""
    from daybook.client import requests

    from .tables import app_table

    with client_for(common) as client:
        print_many(common.output, [client.request(requests.list_apps()).body], app_table)
    return exits.OK


@app.command
def show(name: str, /, *, common: Common = COMMON) -> int:
    """One app: what it does, and the schema of its input.

    Parameters
    ----------
    name
        The app's id, as `daybook app ls` shows it.
    """
    from daybook.client import requests

    from .tables import app_card

    with client_for(common) as client:
        print_one(common.output, client.request(requests.get_app(name)).body, app_card)
    return exits.OK
