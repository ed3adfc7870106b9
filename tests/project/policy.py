"""A strict policy on the pages of jobs."""

from __future__ import annotations


def content_security_policy(get_response):
    """Nothing but the site's own files."""

    def answer(request):
        response = get_response(request)
        if "/jobs/" in request.path:
            response.headers["Content-Security-Policy"] = "default-src 'self'"
        return response

    return answer
