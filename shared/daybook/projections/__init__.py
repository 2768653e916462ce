"""RECALLS. The read models: what lists are made of. All of it is a fold over the log, can be dropped, and is made again
by `rebuild`.

`projector` keeps `task`, `app`, `schedule` and `slot` together, in one transaction with its cursor, so that they agree;
`timer` has a follower of its own in the scheduler. `listing` and `schedule_listing` read pages by key.
"""
