"""Which commands there are. Each is named by where it lives, so that none is imported before it is called."""

from importlib.metadata import version

from cyclopts import App

_HELP = "Daybook: hand work to any app, and get on with your day."
_COMMANDS = (
    ("up", "services:up", "Everything on this machine: Postgres, NATS, api, scheduler, runner."),
    ("serve", "services:serve", "Run one service: api, scheduler or runner."),
    ("run", "run:run", "Submit a task to an app."),
    ("task", "tasks:app", "List, watch, cancel and read tasks."),
    ("app", "apps:app", "What can be run."),
    ("db", "database:db", "Bring the database to this release."),
    ("token", "database:token", "Who may use the API."),
)


def build() -> App:
    """The whole command line."""
    app = App(
        name="daybook",
        help=_HELP,
        version=lambda: version("daybook-tasks"),
        result_action="return_value",
        # The default would load a Markdown parser to print plain sentences.
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
    )
    for order, (name, place, purpose) in enumerate(_COMMANDS):
        app.command(f"daybook.cli.{place}", name=name, help=purpose, sort_key=order)
    return app
