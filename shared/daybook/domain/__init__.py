"""DECIDES. Pure and synchronous: events, commands, and the rules between them.

A command meets the state that a stream's events have made, and `decide` answers with exactly one event or one refusal. Nothing here waits,
reads a clock, draws a random number or opens a connection; whatever the rules need to know comes in as an argument. It imports the standard library,
msgspec and croniter, and nothing else.

The states a task can be in, and the only ways between them, are one table: `status.TABLE`. When a schedule is due is told in `cadence`, what becomes of
each of its slots in `slots`.
"""
