"""The base class of a project's tracking strategies."""

from __future__ import annotations

from typing import Any

from immortus_channels import tracking
from immortus_channels.api.repository import get_job
from immortus_channels.jobs.ids import JobId, given_as
from immortus_channels.tracking.strategies import Strategy


class TrackingStrategy(Strategy):
    """Follows the jobs of a task. Every method is optional; this class follows without saying anything.

    The hooks are called once for each change, in the process that saw it, before the change is stored. A hook that
    raises is logged and changes nothing else. Strategies are shared between jobs: keep no state on `self`.

    Four more methods are looked for and may be defined:
    `meta(job_id) -> dict`: fields for the top level of the job document, asked after every hook and method call;
    `completed(job_id) -> bool`: whether the job is done, asked when its queue says so and at every verify;
    `status(job_id) -> str`: "created", "started", "finished" or "failed", asked for a job the store does not know, on
    behalf of staff, and of whom `allows` lets in where the strategy defines it;
    `fetch(job_id) -> Job | str | None`: likewise, asked first, for strategies that know more than a word.
    """

    def job(self, job_id: JobId) -> Any:
        """The job itself, as `get_job` returns it: its parameters, owner, class and state.

        In a hook, and in the `meta` and `completed` that follow it, it is in the state that the hook tells of.
        """
        return get_job(job_id)

    def publish_meta(self, job_id: JobId) -> None:
        """Ask `meta` and `completed` again now: for changes made outside the strategy's own methods."""
        tracking.publish_meta(self, given_as(job_id))
