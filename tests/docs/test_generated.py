"""The pages that are made from the code are as the code would make them now."""

import shutil
import subprocess
import sys
from pathlib import Path

from daybook.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"


def generate(docs: Path, *arguments: str) -> tuple[int, str]:
    """Run the script of that folder; its exit code and what it printed."""
    done = subprocess.run([sys.executable, str(docs / "generate.py"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_the_pages_are_up_to_date() -> None:
    assert generate(DOCS, "--check") == (0, ""), "run: python docs/generate.py"


def test_a_stale_page_is_named_and_writing_mends_it(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    shutil.copy(DOCS / "generate.py", docs)
    pages = ("explanation/state_machine.md", "reference/cli.md", "reference/http.md", "reference/nats.md", "reference/settings.md")

    assert generate(docs, "--check") == (1, "".join(f"stale: docs/{page}\n" for page in pages))
    assert not (docs / pages[0]).exists()
    assert generate(docs) == (0, "".join(f"written: docs/{page}\n" for page in pages))
    assert generate(docs, "--check") == (0, "")

    page = docs / pages[0]
    page.write_text(page.read_text().replace("queued --> running", "queued --> success"))
    assert generate(docs, "--check") == (1, "stale: docs/explanation/state_machine.md\n")
    assert generate(docs) == (0, "written: docs/explanation/state_machine.md\n")
    assert page.read_bytes() == (DOCS / "explanation" / "state_machine.md").read_bytes()


def test_every_setting_every_command_and_every_path_is_on_its_page() -> None:
    settings, commands, http = ((DOCS / "reference" / f"{name}.md").read_text() for name in ("settings", "cli", "http"))
    assert all(f"`DAYBOOK_{name.upper()}`" in settings for name in Settings.__struct_fields__)
    assert all(
        f"## daybook {words}\n" in commands for words in ("up", "run", "serve api", "task ls", "task reschedule", "app show", "db migrate", "token create")
    )
    assert all(f"## {endpoint}\n" in http for endpoint in ("POST /v1/tasks", "GET /v1/tasks", "GET /v1/tasks/{task_id}/events", "GET /readyz"))


def test_it_takes_no_other_argument() -> None:
    assert generate(DOCS, "--chek")[0] == 2
