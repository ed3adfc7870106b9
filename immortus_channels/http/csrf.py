"""The CSRF check of views that also accept an access token: no other site can make a browser send one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponseForbidden
from django.http.response import HttpResponseBase
from django.middleware.csrf import CsrfViewMiddleware
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt

from immortus_channels.http.authentication import bearer_text

View = Callable[..., HttpResponseBase]


def unless_by_token(view: View) -> View:
    """Return the view with the project's CSRF check, which a request with a token of ours skips.

    An invalid token makes its bearer an anonymous caller with no permissions; so it gains nothing by skipping the
    check.
    """

    @csrf_exempt
    @wraps(view)
    def checked(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        refusal = None if bearer_text(request) is not None else _refusal(request, view)
        return view(request, *args, **kwargs) if refusal is None else refusal

    return checked


def _refusal(request: HttpRequest, view: View) -> HttpResponseForbidden | None:
    """Return what the project's own middleware answers; None if it lets the request pass, or if there is none."""
    for middleware in map(import_string, django_settings.MIDDLEWARE):
        if isinstance(middleware, type) and issubclass(middleware, CsrfViewMiddleware):
            # It has already read the token from the cookie or session, and passed this view as exempt.
            return middleware(view).process_view(request, view, (), {})
    return None
