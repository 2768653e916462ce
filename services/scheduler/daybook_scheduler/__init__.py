"""WAKES. What happens by itself: tasks whose time has come become due, slots of schedules are decided, attempts whose runner
is gone are lost, and queued tasks have their doorbells rung.

Any number of schedulers may run. Timers race for versions in the log, and one of them wins each; the dispatcher and the
timers' read model have one holder at a time, and another takes over within seconds when it dies. The clock that counts
is the database's. A scheduler reads the log itself, so an outage of the API stops neither timers nor dispatch; an
outage of NATS stops only the bells.
"""
