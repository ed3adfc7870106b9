"""A strict policy on the pages of jobs, and what other sites may do."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpResponse


def content_security_policy(get_response):
    """Nothing but the site's own files."""

    def answer(request):
        response = get_response(request)
        if "/jobs/" in request.path:
            response.headers["Content-Security-Policy"] = "default-src 'self'"
        return response

    return answer


def cross_origin_requests(get_response):
    """What django-cors-headers does, for the origins in `CORS_ALLOWED_ORIGINS`: without cookies."""

    def answer(request):
        preflight = request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        response = HttpResponse() if preflight else get_response(request)
        if request.headers.get("Origin") in getattr(settings, "CORS_ALLOWED_ORIGINS", ()):
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Allow-Headers"] = "accept, authorization, content-type"
            response.headers["Access-Control-Allow-Methods"] = "GET, POST, OPTIONS"
        return response

    return answer
