"""`python -m daybook` is `daybook`."""

from daybook.cli import main

raise SystemExit(main())
