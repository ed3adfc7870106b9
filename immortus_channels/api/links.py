"""The URLs of a job's document, page and socket, under any prefix and SCRIPT_NAME."""

from __future__ import annotations

from urllib.parse import urlencode

from django.conf import settings as django_settings
from django.urls import NoReverseMatch, get_script_prefix, get_urlconf, reverse

from immortus_channels.conf import settings
from immortus_channels.exceptions import ConfigurationError
from immortus_channels.jobs.ids import fits_path

CURE = "Write `from immortus_channels.urls import immortus_jobs` and `urlpatterns = [*immortus_jobs(), …]`."
"""What to do where the package's URLs are not mounted."""


def mount() -> str | None:
    """Return the path under which the package's URLs are mounted, below any SCRIPT_NAME; None where they are not."""
    try:
        return reverse("immortus:verify").removesuffix("verify")
    except NoReverseMatch:
        return None


def verify_url(job_id: str) -> str:
    """Return the URL of the job's document. Raises ConfigurationError where the URLs are not mounted."""
    return mounted(_url("immortus:verify", job_id))


def page_url(job_id: str) -> str | None:
    """Return the URL of the job's page; None where the URLs are not mounted."""
    return _url("immortus:job", job_id)


def _url(name: str, job_id: str) -> str | None:
    """Return a job's URL, with an id that does not fit into the path in the query; None where it is not mounted."""
    try:
        if fits_path(job_id):
            return reverse(name, kwargs={"job_id": job_id})
        return f"{reverse(name)}?{urlencode({'job_id': job_id})}"
    except NoReverseMatch:
        return None


def mounted(url: str | None) -> str:
    """Return the URL. Raises ConfigurationError, with the lines to write, for None: the URLs are not mounted."""
    if url is None:
        urlconf = get_urlconf() or django_settings.ROOT_URLCONF
        msg = f"The URLs of immortus_channels are not in {urlconf!r}, or stand below an app_name there. {CURE}"
        raise ConfigurationError(msg)
    return url


def websocket_url(job_id: str = "") -> str | None:
    """Return the path of the socket, of one job or of any; None when sockets are switched off."""
    if not settings.WEBSOCKET:
        return None
    path = f"{get_script_prefix()}ws/immortus/"
    return f"{path}{job_id}/" if job_id and fits_path(job_id) else path
