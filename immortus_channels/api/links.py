"""Where a job's document, page and socket are, under any prefix and SCRIPT_NAME."""

from __future__ import annotations

from urllib.parse import urlencode

from django.urls import NoReverseMatch, get_script_prefix, reverse

from immortus_channels.conf import settings
from immortus_channels.jobs.ids import fits_path


def verify_url(job_id: str) -> str:
    """Where the job's document is. Raises NoReverseMatch where the addresses are not mounted."""
    return _url("immortus:verify", job_id)


def page_url(job_id: str) -> str | None:
    """Where the job's page is; None where the addresses are not mounted."""
    try:
        return _url("immortus:job", job_id)
    except NoReverseMatch:
        return None


def _url(name: str, job_id: str) -> str:
    """An id that does not go in a path goes by query."""
    if fits_path(job_id):
        return reverse(name, kwargs={"job_id": job_id})
    return f"{reverse(name)}?{urlencode({'job_id': job_id})}"


def websocket_url(job_id: str = "") -> str | None:
    """The path of the socket, of one job or of any; None when sockets are switched off."""
    if not settings.WEBSOCKET:
        return None
    path = f"{get_script_prefix()}ws/immortus/"
    return f"{path}{job_id}/" if job_id and fits_path(job_id) else path
