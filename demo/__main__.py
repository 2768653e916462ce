"""The demo's script, from top to bottom.

python -m demo [--model smollm2] [--folder FOLDER]
"""

import argparse
import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Never

from . import web
from .background import Background, DemoFailed
from .endpoints import MODELS, chat_endpoint
from .typist import Typist, environment

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = Path(".daybook-demo")
SERVED: Final = (ROOT / "examples", ROOT / "examples" / "apps")

_UP: Final = "Daybook is up at"
_UP_SECONDS: Final = 60.0


def main(arguments: list[str]) -> int:
    """Run the demo; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="The main job on real input, in the terminal.")
    parser.add_argument("--model", choices=MODELS, help="a language model to run on this machine; without it DAYBOOK_CHAT_BASE_URL, or none")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the data goes (default: %(default)s)")
    asked = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _demonstrate(asked.folder, asked.model)
    except DemoFailed as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe demo was interrupted; everything is stopped.", file=sys.stderr)
        return 130
    return 0


def _demonstrate(folder: Path, model: str | None) -> None:
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    with ExitStack() as running:
        site = running.enter_context(web.serving())
        chat = running.enter_context(chat_endpoint(model, fallback_url=site, folder=folder))
        # A runner calls no private address by default; this one may call the demo's own little web server.
        env = environment({**chat.settings, "DAYBOOK_HTTP_ALLOW": "127.0.0.1/32"})
        typist = Typist(folder, env)
        _bring_up(typist, running, folder, env)
        _python_app(typist, folder)
        _http_app(typist, site)
        _chat_app(typist, folder, chat.who)
        _delayed_task(typist)
        _history(typist)
    _where_next(typist, folder)


def _bring_up(typist: Typist, running: ExitStack, folder: Path, env: dict[str, str]) -> None:
    typist.heading("Everything on this machine", "PostgreSQL, NATS, the API, the scheduler and a runner, from one command and an empty folder.")
    served = [os.path.relpath(source, folder) for source in SERVED]
    typist.shows("up", *served, "&")
    began = time.monotonic()
    argv = [sys.executable, "-m", "daybook", "up", *served]
    server = running.enter_context(Background(argv, name="`daybook up`", cwd=folder, log=folder / "up.log", env=env))
    address = server.wait_for(_UP, _UP_SECONDS).removeprefix(_UP).strip()
    typist.say(f"Up after {time.monotonic() - began:.1f} s at {address}; what the servers say goes to {folder / 'up.log'}.")
    typist.types_for_table("app", "ls")


def _python_app(typist: Typist, folder: Path) -> None:
    title, text = long_text()
    (folder / "reference.txt").write_text(text, encoding="utf-8")
    words = f"It counts the words of {title} ({len(text):,} characters), says how far it is, and returns what it found. It is examples/texts.py."
    typist.heading("A Python function", words)
    typist.types("run", "texts.statistics", "text=@reference.txt", "most_common:=5", "--watch")


def _http_app(typist: Typist, site: str) -> None:
    words = "A page of a web server that this demo brings along. The app is examples/apps/fetch.toml; the page is the task's result."
    typist.heading("An HTTP call, without code", words)
    typist.types("run", "fetch", f"url={site}/gettysburg.txt", "--watch")


def _chat_app(typist: Typist, folder: Path, who: str) -> None:
    shutil.copy(web.TEXTS / "gettysburg.txt", folder)
    words = "The Gettysburg Address, summarised; the answer is shown while it is written. The app is a few lines of TOML, examples/apps/summarise.toml."
    typist.heading("A prompt, without code", words, f"Summarised by {who}")
    typist.types("run", "summarise", "text=@gettysburg.txt", "--watch")


def _delayed_task(typist: Typist) -> None:
    typist.heading("Later", "A task that is due in two seconds: the scheduler wakes it. It would also survive a restart of everything.")
    typist.types("run", "hello.greet", "name=Ada", "--in", "2s", "--watch")


def _history(typist: Typist) -> None:
    typist.heading("What happened", "The history, newest first; it outlives runs of this demo.")
    typist.types_for_table("task", "ls", "--limit", "10")
    typist.say("Everything that ever happened to the last of them, as the log keeps it:")
    typist.types_for_table("task", "events", "@last")


def _where_next(typist: Typist, folder: Path) -> None:
    typist.heading("Everything is stopped again; the data stays. Where to go from here:")
    back = f"cd {folder} && {os.path.relpath(ROOT / '.venv' / 'bin' / 'daybook', folder)} up " + " ".join(os.path.relpath(source, folder) for source in SERVED)
    for command, purpose in (
        ("make up", "the same servers until Ctrl-C, with an address, a token, and a command to try in another terminal"),
        (back, "the history of this demo, and tasks of your own"),
        ("make demo MODEL=smollm2", "this again, with a small language model that writes the summary"),
        ("README.md, docs/tutorial.md", "an app of your own in ten lines; curl, Python, NATS, SQL"),
    ):
        typist.shows_line(command, purpose)


def long_text() -> tuple[str, str]:
    """A title and a text that takes a moment to read: the reference of the Python language, which comes with most Pythons."""
    try:
        from pydoc_data.topics import topics
    except ImportError:
        return "the license", (ROOT / "LICENSE").read_text(encoding="utf-8")
    return "the Python language reference", "\n\n".join(topics[topic] for topic in sorted(topics))


def _interrupt(*_: object) -> Never:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
