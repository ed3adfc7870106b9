"""What the page of a job says while people wait, and where it leads.

Short names resolve here: `"transfer_handler"` is `TransferHandler`.
"""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest
from django.urls import reverse

from immortus_channels import JobHandler


class TransferHandler(JobHandler):
    """Waits for a transfer, goes back to the classroom, and says there whether it was nice."""

    message = "Everybody carries a chair. As soon as they have arrived, this page goes back to the classroom."

    def header(self) -> str:
        """The heading; `message` could be a method, too."""
        return f"Moving {_counted(self.job.data['students'])}"

    def next_url(self, request: HttpRequest) -> str:
        """Back to where they came from."""
        return reverse("classroom", args=[self.job.data["classroom_id"]])

    def on_ready(self, request: HttpRequest) -> None:
        """The flash message."""
        moved, destination = _counted(self.job.data["moved"]), self.job.data["destination"]
        if self.job.data["was_it_nice"] == "yes_it_was":
            messages.success(request, f"It was so nice: {moved} moved to the {destination}.")
        else:
            messages.error(request, f"Error being nice: {moved} moved to the {destination}, then it was full.")


def _counted(students: int) -> str:
    return f"{students} student" if students == 1 else f"{students} students"
