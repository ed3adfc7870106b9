"""HTTP: the views of a job, its page, and what operators watch."""
