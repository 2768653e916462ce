"""Runs a page of the documentation: every block of commands or code, in order, in one folder, as a reader would.

    ```python or ```toml whose first line is `# some/name.py`     is written to that file
    ```python otherwise                                           is run
    ```bash                                                       is run; `daybook up …` stays up until the page ends
    ```text right after a block that ran                          is what it must have printed
    ```sh, ```sql, ```mermaid and others                          are only shown

What was printed is compared by its shape: ids, times, digests and addresses differ from run to run, `…` on a line of its
own stands for any lines, and within one for the rest of it or a part. `make` only says what it would do: the targets are run elsewhere.
"""

import difflib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple, Self

ROOT: Final = Path(__file__).resolve().parents[2]

_FENCE: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE: Final = re.compile(r"# (\S+\.(?:py|toml))$")
_UP: Final = re.compile(r"(?:\w+=\S+ )*daybook up\b")
_LAST_WORDS_OF_UP: Final = "Ctrl-C stops everything"
_USUAL_ADDRESS: Final = "http://127.0.0.1:8420"
_PRELUDE: Final = f'make() {{ command make --dry-run --directory {ROOT} "$@" > /dev/null; }}\n'
_SECONDS: Final = 60
_GAP: Final = re.compile(r" {2,}")
_VARYING: Final = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b(tsk|run|evt)_[0-9a-z]{26}\b", r"\1_ID"),
        (r"\bdbk_[0-9a-z]+\b", "TOKEN"),
        (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", "TIME"),
        (r"\b[0-9a-f]{16,64}\b", "DIGEST"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"\b\d+(\.\d+)?s\b", "SECONDS"),
        # A task may have got on before its watcher is there.
        (r"(?m)^(tsk_ID \S+ )(queued|running|success)$", r"\1STATUS"),
        (r"(?m)^(queued|running attempt 1|success)\n", ""),
    )
)


class Block(NamedTuple):
    """One fenced block: what it is in, what it says, the line that it begins at, and what it must print."""

    language: str
    text: str
    line: int
    expected: str | None


def blocks_of(page: str) -> list[Block]:
    """The blocks that a reader would run or write down; blocks of output go to the block that they follow."""
    found: list[Block] = []
    end_of_last = -1
    for match in _FENCE.finditer(page):
        language, text = match.groups()
        between = page[end_of_last : match.start()]
        if language == "text" and found and end_of_last >= 0 and "\n#" not in between and "```" not in between:
            found[-1] = found[-1]._replace(expected=text)
        if language in ("bash", "python", "toml"):
            found.append(Block(language, text, page.count("\n", 0, match.start()) + 1, None))
        end_of_last = match.end() if language in ("bash", "python") else -1
    return found


class Reader:
    """Somebody who reads one page and does what it says, in a folder. What is still up at the end is stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._up: subprocess.Popen[str] | None = None
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DAYBOOK_") or name.endswith("_BIN")}
        here = str(Path(sys.executable).parent)
        self._env = kept | {"PATH": f"{here}{os.pathsep}{kept['PATH']}", "COLUMNS": "180", "PYTHONUNBUFFERED": "1"}
        (folder / ".venv").symlink_to(sys.prefix)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def does(self, block: Block) -> None:
        """What the block says. Raises AssertionError when that fails, or prints something else than the page says."""
        name = _FILE.match(block.text.splitlines()[0])
        if block.language != "bash" and name is not None:
            path = self._folder / name[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
            return
        if _UP.match(block.text):
            said = self._start(block.text)
        elif block.language == "bash":
            said = self._run("bash", "-euo", "pipefail", "-c", _PRELUDE + self._addressed(block.text))
        else:
            assert block.language == "python", f"a block of {block.language} needs the name of its file in its first line"
            said = self._run(sys.executable, "-c", self._addressed(block.text))
        if block.expected is not None:
            assert_same_shape(said, block.expected)

    def _run(self, *argv: str) -> str:
        done = subprocess.run(
            argv,
            cwd=self._folder,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def _start(self, command: str) -> str:
        self._stop()
        with (self._folder / "up.log").open("w") as errors:
            argv = ["bash", "-c", f"exec env {command}"]
            self._up = subprocess.Popen(argv, cwd=self._folder, env=self._env, stdout=subprocess.PIPE, stderr=errors, text=True, process_group=0)
        assert self._up.stdout is not None
        said = "".join(_until(self._up.stdout, _LAST_WORDS_OF_UP))
        assert _LAST_WORDS_OF_UP in said, (self._folder / "up.log").read_text()
        return said

    def _stop(self) -> None:
        """As Ctrl-C does."""
        if self._up is None:
            return
        process, self._up = self._up, None
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert process.returncode == 0, (self._folder / "up.log").read_text()

    def _addressed(self, text: str) -> str:
        """The text with the address at which the API listens here, should the usual one be taken."""
        file = self._folder / ".daybook" / "env.json"
        return text.replace(_USUAL_ADDRESS, json.loads(file.read_text())["url"]) if file.exists() else text


def assert_same_shape(said: str, expected: str) -> None:
    """Whether what was said is what was expected, but for what differs from run to run."""
    got, want = shape(said), shape(expected)
    lines = [".*".join(map(re.escape, part.split("…"))) for part in re.split(r"(?m)^…\n", want)]
    if re.fullmatch(r"(?:.*\n)*?".join(lines), got) is None:
        difference = "\n".join(difflib.unified_diff(want.splitlines(), got.splitlines(), "the page", "the run", lineterm="", n=99))
        raise AssertionError(f"{difference}\n\nprinted was:\n{said}")


def shape(text: str) -> str:
    """The text without what differs from run to run, such as the widths of a table's columns."""
    for pattern, replacement in _VARYING:
        text = pattern.sub(replacement, text)
    return "".join(f"{_GAP.sub('  ', line.rstrip())}\n" for line in text.strip().splitlines())


def _until(stream: IO[str], words: str) -> Iterator[str]:
    for line in stream:
        yield line
        if words in line:
            return
