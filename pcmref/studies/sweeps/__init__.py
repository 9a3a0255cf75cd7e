"""Sweeps: a grid of questions, cut into tasks that any executor runs, whose answers land in one database.

In the order of the data: `grid` reads what is asked, `points` builds every point of it, `tasks` is what travels to a
worker and back, `worker` does it there, `executors` are where it may be done, `database` keeps what is found, `sweep`
drives them all.
"""
