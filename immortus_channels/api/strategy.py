"""The base class of a project's tracking strategies."""

from __future__ import annotations

from typing import Any

from immortus_channels import tracking
from immortus_channels.api.repository import get_job
from immortus_channels.jobs import namespaces
from immortus_channels.jobs.ids import JobId, given_as
from immortus_channels.tracking.strategies import Strategy


class TrackingStrategy(Strategy):
    """The base of strategies, which follow the jobs of a task. Every method is optional; this class publishes nothing.

    The package calls a hook once for each change, in the process that saw it, before the change is stored. It logs a
    hook that raises, and nothing else changes. Jobs share a strategy: keep no state on `self`.

    A subclass may define four more methods:
    `meta(job_id) -> dict`: fields for the top level of the job document, asked after every hook and method call;
    `completed(job_id) -> bool`: whether the job is done, asked when its queue says so and at every verify;
    `status(job_id) -> str`: "created", "started", "finished" or "failed", asked for a job the store does not know, on
    behalf of staff, and of users that `allows` lets in where the strategy defines it;
    `fetch(job_id) -> Job | str | None`: likewise, asked first, for strategies that know more than a word.
    """

    def job(self, job_id: JobId) -> Any:
        """Return the job as `get_job` does: with its parameters, owner, class and state.

        In a hook, and in the `meta` and `completed` that follow it, the job is in the state that the hook reports.
        """
        return get_job(job_id)

    def publish_meta(self, job_id: JobId) -> None:
        """Ask `meta` and `completed` again now: for changes made outside the strategy's own methods."""
        tracking.publish_meta(self, namespaces.here(given_as(job_id)))
