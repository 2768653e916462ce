"""SPEAKS. The gateway: HTTP in, commands out; events in, answers and streams out.

A request becomes a command, `daybook.handling` makes it an event, and the answer is a view of the task after it. The
API decides nothing itself and keeps nothing: what it remembers (apps, tokens) is a cache over the log, cleared by the
log. It hosts the relay and the projector, one holder each across all API processes.

A submit is answered once it is committed, whether NATS is there or not. Nobody's request is cancelled by going away. A
process that dies between the commit and the answer has still accepted the task: a client that sends the same
Idempotency-Key again is told so.
"""
