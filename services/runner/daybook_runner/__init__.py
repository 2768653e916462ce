"""DOES. A runner claims tasks, executes them, and reports what came of it.

    doorbell → load → claim → acknowledge → execute → report

A doorbell (NATS) names tasks that may be claimed; it is a hint and nothing more. Claiming is appending `TaskStarted` to
the task's stream: of all runners that try, one has it. From then on the runner's lease in Postgres says whether the
attempt is alive, so the doorbell is acknowledged at once and a long task is no special case. The report is an event
like any other, decided on the task's current state: a runner that was replaced meanwhile finds that nothing it says
counts any more.

What it survives: NATS gone (it waits and reconnects), Postgres gone (it keeps its results and reports when Postgres is
back), bells that lie (an unknown or finished task is dropped), bells that repeat.
"""
