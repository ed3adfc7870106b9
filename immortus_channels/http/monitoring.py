"""What load balancers and metrics collectors ask a web process: whether it may have traffic, and its counters."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from functools import wraps
from http import HTTPStatus
from itertools import groupby
from operator import attrgetter

from django.contrib.auth.decorators import login_not_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotFound, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.http import require_safe

from immortus_channels import metrics
from immortus_channels.access import permissions
from immortus_channels.api.shortcuts import keep_private
from immortus_channels.conf import settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.metrics import Sample
from immortus_channels.stores import get_store
from immortus_channels.threads import call_in_thread
from immortus_channels.websocket.hub import layer_state
from immortus_channels.websocket.shutdown import is_draining
from immortus_channels.writer import is_behind, is_inline

View = Callable[[HttpRequest], HttpResponse]


def monitoring_view(view: View) -> View:
    """Return a view that needs neither login nor database by itself, and is never cached."""

    @login_not_required
    @transaction.non_atomic_requests
    @require_safe
    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        response = view(request)
        keep_private(response)
        return response

    return answer


# Health


@monitoring_view
def health(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - it is the same for all callers
    """Answer 200 if this process may have traffic; 503 if it is about to end, or cannot reach its store.

    A failing channel layer and a writer that is behind are reported, but are not a reason to remove a server: pages
    learn by re-checks, and all other servers would fail the same check at the same time.
    """
    has_store = store_check.passes()
    status = "draining" if is_draining() else "ok" if has_store else "store_unreachable"
    report = {
        "status": status,
        "store": "ok" if has_store else "unreachable",
        "layer": layer_state(),
        "writer": "behind" if is_behind() else "ok",
    }
    answer = JsonResponse(report, status=HTTPStatus.OK if status == "ok" else HTTPStatus.SERVICE_UNAVAILABLE)
    # Django logs every answer above 499 as an error, which would be one line for each check.
    answer._has_been_logged = True  # type: ignore[attr-defined] # noqa: SLF001 - there is no public name for it
    return answer


class StoreCheck:
    """Whether the store answers within `TIMEOUT` seconds, asked once every `FRESH` seconds, one query at a time."""

    TIMEOUT = 1.0
    FRESH = 1.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answer: Future[bool] | None = None
        self._asked_at = 0.0

    def passes(self) -> bool:
        """Wait for the answer to the latest query; return False if there is none in time."""
        if is_inline():  # no other thread sees a test's database
            return _store_answers()
        with self._lock:
            answer = self._answer
            if answer is None or (answer.done() and time.monotonic() - self._asked_at >= self.FRESH):
                self._asked_at = time.monotonic()
                answer = self._answer = call_in_thread(_ask_store, name="immortus-health")
        try:
            return answer.result(self.TIMEOUT)
        except TimeoutError:
            return False


store_check = StoreCheck()


def _ask_store() -> bool:
    """In a thread of the package's own, whose connection gives up a store that hangs."""
    store = get_store()
    store.claim_thread()
    try:
        return _store_answers()
    finally:
        store.release_thread()


def _store_answers() -> bool:
    try:
        get_store().positions(["immortus.health"])
    except StoreUnavailable:
        return False
    return True


# Numbers


@monitoring_view
def numbers(request: HttpRequest) -> HttpResponse:
    """Show this process's counters, in Prometheus' text format; 404 for all but staff and `IMMORTUS_METRICS_TOKEN`."""
    if not _may_read(request):
        return HttpResponseNotFound()
    return HttpResponse("".join(exposition(metrics.samples())), content_type="text/plain; version=0.0.4; charset=utf-8")


def _may_read(request: HttpRequest) -> bool:
    token, sent = settings.METRICS_TOKEN, request.headers.get("Authorization", "")
    if token and constant_time_compare(sent, f"Bearer {token}"):
        return True
    user = permissions.user_of(request)
    return user.is_active and bool(getattr(user, "is_staff", False))


def exposition(samples: Iterable[Sample]) -> Iterator[str]:
    """Yield the lines of Prometheus' text format, 0.0.4."""
    for name, group in groupby(samples, attrgetter("name")):
        several = list(group)
        full = f"immortus_{name}_total" if several[0].kind == "counter" else f"immortus_{name}"
        yield f"# HELP {full} {several[0].help}\n# TYPE {full} {several[0].kind}\n"
        for sample in several:
            labels = ",".join(f'{label}="{value}"' for label, value in sample.labels.items())
            yield f"{full}{{{labels}}} {sample.value:.17g}\n" if labels else f"{full} {sample.value:.17g}\n"
