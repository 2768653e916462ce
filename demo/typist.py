"""Shows a command, runs it as a person would, and insists that it ends as it should.

On a terminal the commands have it to themselves, with their bars and colours; elsewhere they print plain lines.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import join
from typing import Final

from rich.console import Console
from rich.text import Text

from .background import DemoFailed

_PLAIN_COLUMNS: Final = 130


class Typist:
    """Types in one folder."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = _PLAIN_COLUMNS
        self._folder = folder
        self._env = {**env} if self.console.is_terminal else {**env, "COLUMNS": str(_PLAIN_COLUMNS)}

    def heading(self, title: str, *sentences: str) -> None:
        """What comes next, and why it is worth a look."""
        self.console.print()
        self.console.print(Text(title, style="bold"))
        for sentence in sentences:
            self.say(sentence)

    def say(self, sentence: str) -> None:
        """A sentence of the demo's own."""
        self.console.print(Text(sentence, style="dim"))

    def shows(self, *words: str) -> None:
        """A command that is about to run."""
        self.console.print(Text(f"$ daybook {' '.join(words)}", style="bold cyan"), soft_wrap=True)

    def shows_line(self, command: str, purpose: str) -> None:
        """A command for later, which nobody wants to copy from two lines, and what it is good for."""
        self.console.print(Text(f"  {command}", style="cyan"), soft_wrap=True)
        self.say(f"      {purpose}")

    def types(self, *words: str) -> None:
        """Run `daybook` with these words. Raises DemoFailed unless it ends with 0."""
        self.shows(join(words))
        sys.stdout.flush()
        # Into a pipe or a file, what is meant for people and the result go in the order in which they were written.
        errors = None if self.console.is_terminal else subprocess.STDOUT
        done = subprocess.run([sys.executable, "-m", "daybook", *words], cwd=self._folder, env=self._env, stderr=errors, check=False)
        if done.returncode:
            raise DemoFailed(f"`daybook {join(words)}` ended with status {done.returncode}, see above")

    def types_for_table(self, *words: str) -> None:
        """Run a command that prints a table on a terminal, and has to be asked for one elsewhere."""
        self.types(*words, *(() if self.console.is_terminal else ("-o", "table")))


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with these settings, and without those that would lead the demo to other servers than its own."""
    elsewhere = ("DAYBOOK_URL", "DAYBOOK_TOKEN", "DAYBOOK_DATA", "DAYBOOK_DATABASE_URL", "DAYBOOK_MIGRATE_URL", "DAYBOOK_NATS_URL", "DAYBOOK_OPEN_ACCESS")
    return {name: value for name, value in os.environ.items() if name not in elsewhere} | dict(settings)
