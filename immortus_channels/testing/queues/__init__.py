"""What every task queue's adapter must keep: a project, tasks, and one class of cases, run by the queue's own worker.

An adapter brings a `driver.Driver`, which says how its queue is set up, started and used; a subclass of `cases.Cases`
runs it under pytest, which nothing else here needs.
"""
