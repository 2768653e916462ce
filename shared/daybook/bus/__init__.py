"""TELLS. NATS: the doorbell and the broadcast, never the ledger.

Everything said here can be lost without losing a task: facts are told from the log and can be told again, doorbells are
rung again until somebody claims, pokes only save a quarter of a second. All subjects are in `subjects`, all streams and
consumers in `topology`.
"""
