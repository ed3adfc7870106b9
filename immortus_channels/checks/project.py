"""How the package is built into the project: its URLs and its middleware."""

from __future__ import annotations

from django.conf import settings as django_settings
from django.core.checks import Warning  # noqa: A004 - Django's name
from django.utils.module_loading import import_string

from immortus_channels.api import links
from immortus_channels.checks.finding import ID, Findings
from immortus_channels.middleware import JobOwnerMiddleware


def check_urls() -> Findings:
    """Find missing URLs, without which browsers cannot ask for a job; some requests may have their own."""
    if getattr(django_settings, "ROOT_URLCONF", None) and not _has_urls():
        yield Warning(
            f"The URLs of {ID} cannot be found in {django_settings.ROOT_URLCONF!r}, so none of its pages can follow "
            "a job.",
            hint=f"{links.CURE} If requests have URLs of their own (request.urlconf), write it there and silence "
            f"{ID}.W016.",
            id=f"{ID}.W016",
        )


def _has_urls() -> bool:
    try:
        return links.mount() is not None
    except AttributeError:  # an entry of urlpatterns, which Django's urls.E004 names: perhaps our list without its star
        return False


def check_middleware() -> Findings:
    """Find missing middleware, without which jobs get no owner.

    Its place among the others does not matter: the user is looked up when a job is sent.
    """
    if any(_is_owner_middleware(path) for path in django_settings.MIDDLEWARE):
        return
    yield Warning(
        "JobOwnerMiddleware is not in MIDDLEWARE, so jobs that views start have no owner, and with IMMORTUS_ACCESS "
        '"owner" every user who knows such a job\'s id may see it.',
        hint='Add "immortus_channels.middleware.JobOwnerMiddleware" below '
        '"django.contrib.auth.middleware.AuthenticationMiddleware".',
        id=f"{ID}.W001",
    )


def _is_owner_middleware(path: str) -> bool:
    if path.startswith("django."):
        return False
    try:
        found = import_string(path)
    except ImportError:  # Django reports it itself
        return False
    return isinstance(found, type) and issubclass(found, JobOwnerMiddleware)
