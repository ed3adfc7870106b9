"""A project whose worker, of any of the queues, runs jobs that do nothing."""
