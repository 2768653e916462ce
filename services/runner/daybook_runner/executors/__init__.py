"""Executes attempts: one file for each kind of app, all behind one protocol, `execute(call, context) → Outcome`.

What an attempt does wrong is an outcome, not an exception: a `Failure` with a type, a message, and the traceback where
there is one. Only the cancellation of the attempt passes through, since the runner asked for it. Nothing here knows of
tasks' statuses, leases, or the log.
"""

from .dispatch import Executors
from .protocol import Call, Executor, Failure, Outcome, Success

__all__ = ["Call", "Executor", "Executors", "Failure", "Outcome", "Success"]
