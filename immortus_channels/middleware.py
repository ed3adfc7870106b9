"""The middleware that gives each job to the user whose request starts it."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import FileResponse, HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.functional import SimpleLazyObject

from immortus_channels.jobs import namespaces
from immortus_channels.jobs.owner import owner_key, starter_here, starting_as
from immortus_channels.keys import key_of
from immortus_channels.threads import call_in_thread, is_in_event_loop

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class JobOwnerMiddleware:
    """Gives the jobs sent during a request to its user.

    The user is looked up when a job is sent, not before: a request that sends none touches no session, and a view that
    logs a user in before it starts a job starts it for that user.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        """Be synchronous or not, as `get_response` is."""
        self._get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Return the response; a streamed one is produced in the name of the same user."""
        if self._is_async:
            return self._answer(request)
        starter = partial(owner_of, request)
        token = starter_here.set(starter)  # a context manager would take as long as all the rest
        entered = namespaces.enter_request(request)
        try:
            response = self._get_response(request)
        finally:
            namespaces.leave(entered)
            starter_here.reset(token)
        return _stream_as(request, response) if isinstance(response, StreamingHttpResponse) else response

    async def _answer(self, request: HttpRequest) -> HttpResponseBase:
        starter = partial(owner_of, request)
        with starting_as(starter), namespaces.in_request(request):
            return _stream_as(request, await cast("Awaitable[HttpResponseBase]", self._get_response(request)))


def owner_of(request: HttpRequest) -> str | None:
    """Return the key of the user logged in now; None if there is none."""
    user = getattr(request, "user", None)
    if isinstance(user, SimpleLazyObject) and is_in_event_loop():
        if not hasattr(request, "_acached_user"):
            # An async view sends a job before it has looked the user up. The ORM does not work in its thread, and a job
            # without its owner would be visible to all. So the loop waits for a query, as next for the broker.
            return call_in_thread(partial(_read_owner, request)).result()
        user = request._acached_user  # noqa: SLF001 - what `await request.auser()` has left
    return _key_of(user, request)


def _read_owner(request: HttpRequest) -> str | None:
    return _key_of(request.user, request)


def _key_of(user: object, request: HttpRequest) -> str | None:
    """Return the user's key in the request's own namespace, whichever the view has entered, and read it there."""
    namespace = namespaces.of(request)
    with namespaces.inside(namespace):
        key = owner_key(user)
    return None if key is None else key_of(namespace, key)


def _stream_as(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Have a streamed response produced in the name of the request too, after the middleware has returned."""
    if isinstance(response, StreamingHttpResponse) and not isinstance(response, FileResponse):
        if response.is_async:
            response.streaming_content = _async_parts(request, cast("AsyncIterable[bytes]", response.streaming_content))
        else:
            response.streaming_content = _parts(request, cast("Iterable[bytes]", response.streaming_content))
    return response


def _parts(request: HttpRequest, content: Iterable[bytes]) -> Iterator[bytes]:
    iterator = iter(content)
    while True:
        with starting_as(partial(owner_of, request)), namespaces.in_request(request):
            part = next(iterator, None)
        if part is None:
            return
        yield part


async def _async_parts(request: HttpRequest, content: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    iterator = aiter(content)
    while True:
        with starting_as(partial(owner_of, request)), namespaces.in_request(request):
            part = await anext(iterator, None)
        if part is None:
            return
        yield part
