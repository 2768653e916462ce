"""Starts one service of Daybook with one wall taken out, named by CHAOS_MUTANT. Nobody else reads that variable; the product knows nothing of it."""

import os
import sys

from tests.chaos.mutants import MUTANTS

from daybook.cli import main

if __name__ == "__main__":
    MUTANTS[os.environ["CHAOS_MUTANT"]].maim()
    sys.exit(main(sys.argv[1:]))
