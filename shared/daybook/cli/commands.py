"""Which commands there are. Each is named by where it lives, so that none is imported before it is called."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cyclopts import App

HELP: Final = "Daybook: hand work to any app, and get on with your day."
COMMANDS: Final = (
    ("up", "services:up", "Everything on this machine: Postgres, NATS, api, scheduler, runner."),
    ("serve", "services:serve", "Run one service: api, scheduler or runner."),
    ("login", "database:login", "Print a fresh link to the page: it logs one browser in, once."),
    ("run", "run:run", "Submit a task to an app, and watch it."),
    ("task", "tasks:app", "List, watch, cancel, repeat and read tasks."),
    ("schedule", "schedules:app", "Run things again and again, and see what became of each time."),
    ("app", "apps:app", "What can be run."),
    ("webhook", "webhooks:app", "Who is told when tasks end."),
    ("db", "database:db", "Bring the database to this release."),
    ("token", "database:token", "Who may use the API."),
)


def overview() -> str:
    """The first screen."""
    lines = [f"  {name:<10}{purpose}" for name, _, purpose in COMMANDS]
    return "\n".join(
        [
            "Usage: daybook COMMAND",
            "",
            HELP,
            "",
            *lines,
            "",
            "`daybook COMMAND --help` says more; `daybook --version` which release this is.",
        ]
    )


def build() -> "App":
    """The whole command line."""
    from importlib.metadata import version

    from cyclopts import App

    app = App(
        name="daybook",
        help=HELP,
        version=lambda: version("daybook-tasks"),
        # The default would load a Markdown parser to print plain sentences.
        help_format="plaintext",
    )
    for order, (name, place, _) in enumerate(COMMANDS):
        app.command(f"daybook.cli.{place}", name=name, sort_key=order)
    return app
