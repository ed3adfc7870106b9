"""The CSRF check of views that may also be called with an access token: no other site can make a browser send one."""

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
    """The view, checked as the project checks all others, unless the request shows a token of ours.

    A token that turns out to be no good makes its bearer nobody, who may do nothing; so what the check would have kept
    from whoever is logged in is kept from them too.
    """

    @csrf_exempt
    @wraps(view)
    def checked(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        refusal = None if bearer_text(request) is not None else _refusal(request, view)
        return view(request, *args, **kwargs) if refusal is None else refusal

    return checked


def _refusal(request: HttpRequest, view: View) -> HttpResponseForbidden | None:
    """What the project's own middleware answers; None where it lets the request pass, or where there is none."""
    kinds = (import_string(path) for path in django_settings.MIDDLEWARE)
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, CsrfViewMiddleware):
            # It has read the token from the cookie or session before, and passed this view as exempt.
            return kind(_nothing).process_view(request, view, (), {})
    return None


def _nothing(_: HttpRequest) -> HttpResponseBase:
    raise NotImplementedError
