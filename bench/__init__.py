"""Benchmarks: `make bench`, or `python -m bench [NAME …]`.

Everything runs on this one machine, as `daybook up` runs it, with durability on: Postgres, NATS, API, scheduler,
runner, and the load itself. Every figure is the median of several runs; beside them, measured in the same session,
stand the raw limits of what it is built on, and the ratios to them, which say more than figures of a noisy machine.
"""
