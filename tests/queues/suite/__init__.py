"""What every task queue's adapter must keep: a project, tasks, and one class of cases, run by the queue's own worker.

A queue brings a `Driver`; `cases.Cases` runs it.
"""
