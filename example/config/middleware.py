"""A strict content security policy: nothing inline, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

POLICY = (
    "default-src 'self'; img-src 'self' data:; base-uri 'none'; object-src 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Send the policy with every answer; the package needs no exception from it."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        # Django's error pages for developers are one inline script.
        if not (settings.DEBUG and response.status_code >= 400):  # noqa: PLR2004 - all errors
            response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    return middleware
