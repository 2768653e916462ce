"""Everything Daybook needs on one machine: PostgreSQL, NATS and the three services under one supervisor.

The model. `up` owns a data folder and is the parent of every process it starts:

    daybook up ── postgres   (embedded; not started when a database URL is given)
               ├─ nats       (embedded; not started when a NATS URL is given)
               ├─ api
               ├─ scheduler
               └─ runner

The failures it survives: any child may crash or be killed (it is started again, on the same port, with backoff); the
supervisor itself may be killed with signal 9 (the kernel tells every child, and none is left behind); the machine may
stop at any point (a half-made data folder is made anew, a finished one is recovered by PostgreSQL).

It refuses to be a deployment: one machine, loopback by default, no clusters, no upgrades of a data folder.
"""
