"""Schedulers are killed and frozen for a quarter of a minute, and every slot is accounted for. `make chaos ONLY=schedules LONG=1` does it for a minute.

The run is a program of its own, as those of `test_chaos_short`; what it printed is shown when it fails.
"""

import faulthandler
import subprocess
import sys

import msgspec
import pytest
from tests.chaos.fleet import ROOT

_SECONDS = 200


@pytest.mark.slow
def test_every_slot_is_decided_once_whoever_dies() -> None:
    faulthandler.cancel_dump_traceback_later()  # it may take longer than a test that hangs, and ends by itself
    argv = [sys.executable, "-m", "tests.chaos.schedules", "--seed", "1"]
    done = subprocess.run(argv, cwd=ROOT, check=False, timeout=_SECONDS, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"ended with status {done.returncode}:\n{done.stdout[-12_000:]}"
    counts = msgspec.json.decode(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    assert counts["schedules"] == 200
    assert counts["kills"] >= 3
    assert counts["freezes"] >= 1
    assert counts["slots"] > 2000
