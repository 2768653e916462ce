"""REMEMBERS. The event log in Postgres: append, load, follow.

Every fact is one row of `log.event`: an event of a stream (one task, app or token), numbered by `version`. A row lies
in one of 64 lanes; at any moment at most one transaction appends to a lane, so within it positions rise in commit
order, and a follower that reads each lane from where it was misses nothing. Merged by position, an event's predecessor
always comes first.

Writing is `Log.append`: one event, one expected version. It succeeds, or raises `Conflict` because somebody else was
faster. Appends of one process share transactions. Reading is `Log.load` for a stream and a `Follower` (or `LogReader`)
for everything.

What it survives: a connection that dies in mid-commit (the append looks whether it happened), a holder of a follower
that is stopped and comes back (it is fenced by its epoch), an event that cannot be read (its stream is parked), a clock
that steps (no order depends on one), a dump and restore.
"""
