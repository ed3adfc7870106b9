"""What the pages of the project's jobs say and do."""

from __future__ import annotations

import logging

from django.contrib import messages

from immortus_channels import JobHandler

logger = logging.getLogger(__name__)


class Transfer(JobHandler):
    """A class moves to another classroom."""

    header = "Moving the class"
    message = "You will be taken to the new classroom."
    next_url = "/flashes"

    def on_ready(self, request):
        logger.info("ready %s", self.job.job_id)
        if self.job.data["was_it_nice"] == "yes_it_was":
            messages.success(request, "IT WAS SO NICE.")
        else:
            messages.error(request, "ERROR being nice")
