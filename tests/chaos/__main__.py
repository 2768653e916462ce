"""DOUBTS. The chaos suite: a whole house of real processes, a load that never ends, one fault after the other, and a checker that believes nothing.

    python -m tests.chaos --seed 7          the short tier: one fault of each class, leases of 2 s
    python -m tests.chaos --long            all faults, leases of 15 s
    python -m tests.chaos --mutant NAME     a house with one wall taken out: the checker must notice

Two APIs, two schedulers and three runners, each behind two proxies of its own (`fleet`), over a database and a nats-server (`servers`). Clients
submit all the while and write down what they asked and what they were answered (`load`), the apps write down what they did (`apps`), a
watcher reads every fact that was told (`watcher`). A fault strikes (`faults`), is healed, the load rests until nothing is open any more,
and all of it is compared (`evidence`, `checker`). `run` leads through this, `report` says what came of it. A run ends with status 0 when nothing was
violated; of a mutant, when the checker noticed (or, of the control, did not).

Refuses to mend anything: a process that ends is started again by a little supervisor, as `daybook up` and systemd do, and by nobody else.
Kills only what it started, by its number.
"""

import argparse
import asyncio
import signal
import sys

from tests.chaos.faults import FAULTS
from tests.chaos.mutants import MUTANTS
from tests.chaos.report import summary
from tests.chaos.run import Plan, new_seed, run


def main() -> int:
    """Read the arguments, run, and tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Real processes, one fault after the other, and a checker.")
    parser.add_argument("--seed", type=int, default=None, help="decides the load, the order of the faults and whom they hit; without it, chance")
    parser.add_argument("--long", action="store_true", help="all faults, with leases of 15 s, instead of one of each class with leases of 2 s")
    parser.add_argument("--only", default="", help=f"a comma list of {', '.join(fault.name for fault in FAULTS)}")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), default="", help="run a house with one wall taken out; the checker must notice")
    parser.add_argument("--rate", type=float, default=30.0, help="submits a second")
    parser.add_argument("--repeat", type=int, default=1, help="each fault so many times: takeover is measured over many losses")
    given = parser.parse_args()
    seed = new_seed() if given.seed is None else given.seed
    only = tuple(name for name in given.only.split(",") if name)
    print(f"seed {seed}", flush=True)
    plan = Plan(seed=seed, long=given.long, mutant=given.mutant, only=only, per_second=given.rate, repeat=given.repeat)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an orderly end, however it is asked for
    told = asyncio.run(run(plan))
    print(f"{summary(told)}\nsee {plan.folder}")
    if given.mutant:
        return 0 if bool(told.violations) == MUTANTS[given.mutant].caught else 1
    return 1 if told.violations else 0


if __name__ == "__main__":
    sys.exit(main())
