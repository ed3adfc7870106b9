"""The package's URLs. `*immortus_jobs(…)` puts them, and those of your own views, into `urlpatterns`."""

from __future__ import annotations

from itertools import chain
from typing import TypeAlias

from django.urls import URLPattern, URLResolver, include, path, re_path, register_converter
from django.urls.converters import StringConverter

from immortus_channels.http import job_page, monitoring, views
from immortus_channels.jobs import ids

app_name = "immortus"


class JobIdConverter(StringConverter):
    """An id that needs no escaping; every other one goes by query."""

    regex = ids.IN_PATH

    def to_url(self, value: str) -> str:
        """Return the id; one that does not fit makes no URL."""
        if not ids.fits_path(value):
            raise ValueError(value)
        return value


register_converter(JobIdConverter, "immortus_job_id")

urlpatterns = [
    path("verify", views.verify, name="verify"),
    path("verify/<immortus_job_id:job_id>", views.verify, name="verify"),
    path("verify/<immortus_job_id:job_id>/<str:job_class>", views.verify, name="verify"),
    path("cancel", views.cancel, name="cancel"),
    path("cancel/<immortus_job_id:job_id>", views.cancel, name="cancel"),
    path("token", views.token, name="token"),
    re_path(r"^(?:verify|cancel)/(?P<job_id>.*)$", views.unfit),
    path("health", monitoring.health, name="health"),
    path("metrics", monitoring.numbers, name="metrics"),
    path("jobs/", job_page.job, name="job"),
    path("jobs/<immortus_job_id:job_id>/", job_page.job, name="job"),
]


Pattern: TypeAlias = URLPattern | URLResolver


def immortus_jobs(*patterns: Pattern | list[Pattern]) -> list[Pattern]:
    """Return the package's URLs under `immortus/`, followed by the patterns passed, also those in lists."""
    given = chain.from_iterable(each if isinstance(each, list) else [each] for each in patterns)
    return [path("immortus/", include("immortus_channels.urls")), *given]
