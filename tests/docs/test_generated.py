"""The pages that are made from the code are as the code would make them now."""

import shutil
import subprocess
import sys
from pathlib import Path

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
    page = docs / "explanation" / "state_machine.md"

    assert generate(docs, "--check") == (1, "stale: docs/explanation/state_machine.md\n")
    assert not page.exists()
    assert generate(docs) == (0, "written: docs/explanation/state_machine.md\n")
    assert generate(docs, "--check") == (0, "")
    assert generate(docs) == (0, "")

    page.write_text(page.read_text().replace("queued --> running", "queued --> success"))
    assert generate(docs, "--check") == (1, "stale: docs/explanation/state_machine.md\n")
    assert generate(docs) == (0, "written: docs/explanation/state_machine.md\n")
    assert page.read_bytes() == (DOCS / "explanation" / "state_machine.md").read_bytes()


def test_it_takes_no_other_argument() -> None:
    assert generate(DOCS, "--chek")[0] == 2
