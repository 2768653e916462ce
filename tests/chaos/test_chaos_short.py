"""The short tier, once: real processes, one fault of each class, and everything that must be true after each. And the mutants that fail within seconds.

Each run is a program of its own, since it makes itself the reaper of all its descendants and freezes, kills and counts processes; what it printed is
shown when it fails. `make chaos SEED=…` repeats a run.
"""

import faulthandler
import subprocess
import sys

import pytest
from tests.chaos.fleet import ROOT

_SHORT_SECONDS = 420
_MUTANT_SECONDS = 120


@pytest.mark.slow
def test_the_short_tier_finds_nothing() -> None:
    said = chaos("--seed", "1", timeout_seconds=_SHORT_SECONDS)
    assert "\n0 violations" in said


@pytest.mark.slow
@pytest.mark.parametrize("mutant", ["no_reaper", "publish_before_commit"])
def test_a_mutant_is_caught(mutant: str) -> None:
    assert "VIOLATION" in chaos("--seed", "1", "--mutant", mutant, timeout_seconds=_MUTANT_SECONDS)


def chaos(*arguments: str, timeout_seconds: float) -> str:
    """Run the suite to its end, which must be a good one, and return what it said."""
    faulthandler.cancel_dump_traceback_later()  # it takes longer than a test that hangs, and ends by itself
    argv = [sys.executable, "-m", "tests.chaos", *arguments]
    done = subprocess.run(argv, cwd=ROOT, check=False, timeout=timeout_seconds, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{' '.join(arguments)} ended with status {done.returncode}:\n{done.stdout[-12_000:]}"
    return done.stdout
