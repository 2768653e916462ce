"""Every command and every piece of code in the README and the guides runs, and prints what the page says it prints."""

import re
from pathlib import Path

import pytest
from tests.docs.pages import ROOT, Block, Reader, assert_same_shape, blocks_of

PAGES = ("README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")))
TO_RUN = {name: blocks_of((ROOT / name).read_text(encoding="utf-8")) for name in PAGES}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, blocks in TO_RUN.items() if blocks])
def test_a_page_does_what_it_says(name: str, folder: Path) -> None:
    with Reader(folder) as reader:
        for block in TO_RUN[name]:
            try:
                reader.does(block)
            except AssertionError as error:
                raise AssertionError(f"{name}, line {block.line}:\n{block.text}\n{error}") from error


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    for target in links_of(text):
        place, _, heading = target.partition("#")
        found = (page.parent / place) if place else page
        assert found.exists(), f"{name} links to {target}"
        if heading and found.suffix == ".md":
            assert heading in headings_of(found.read_text(encoding="utf-8")), f"{name} links to {target}"


def test_the_readme_shows_what_it_promises() -> None:
    languages = [block.language for block in TO_RUN["README.md"]]
    assert {"bash", "python", "toml"} <= set(languages)
    assert sum(block.expected is not None for block in TO_RUN["README.md"]) >= 4


def test_blocks_know_their_output_and_only_theirs() -> None:
    page = "```bash\nls\n```\n\nprints\n\n```text\na\n```\n\n```text\nno output\n```\n```toml\n# a.toml\n```\n```text\nneither\n```\n"
    assert blocks_of(page) == [Block("bash", "ls\n", 1, "a\n"), Block("toml", "# a.toml\n", 14, None)]


@pytest.mark.parametrize(
    ("said", "expected", "same"),
    [
        ("tsk_31r88p6r72htj8rmag3ptbcts0 took 2.3s\n", "tsk_7s3vz5p176gphs2xawxbaxf9mx took 0.1s", True),
        ("a\nb\nc\n", "a\n…\nc\n", True),
        ("a\nc\n", "a\n…\nc\n", True),
        ("a\nb\nc\n", "a\n…\nd\n", False),
        ("a\nb\n", "a\n", False),
        ("queued\nrunning attempt 1\n1\nsuccess\n", "running attempt 1\n1\n", True),
        ("Hello, Bob!\n", "Hello, Ada!\n", False),
    ],
)
def test_shapes_are_compared_and_not_ids(said: str, expected: str, same: bool) -> None:
    if same:
        assert_same_shape(said, expected)
    else:
        with pytest.raises(AssertionError):
            assert_same_shape(said, expected)


def test_a_page_that_says_what_is_not_so_is_found_out(tmp_path: Path) -> None:
    with Reader(tmp_path) as reader:
        reader.does(Block("bash", "echo it is so\nmake help\n", 1, "it is so\n"))
        with pytest.raises(AssertionError, match="it is so"):
            reader.does(Block("bash", "echo it is so\n", 1, "it is not so\n"))
        with pytest.raises(AssertionError, match="ended with 3"):
            reader.does(Block("python", "raise SystemExit(3)\n", 1, None))
        with pytest.raises(AssertionError, match="No rule to make target"):
            reader.does(Block("bash", "make nothing\n", 1, None))


def links_of(text: str) -> list[str]:
    """The targets of all links but those to other sites."""
    code = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", code.sub("", text)) if "://" not in target]


def headings_of(text: str) -> set[str]:
    """The anchors that a page's headings get."""
    titles = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
