"""`manage.py immortus_doctor`: follow one job all the way, and say where the way ends."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from django.conf import settings as django_settings
from django.core.checks import ERROR
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from django.utils.module_loading import import_string

from immortus_channels import checks, queues, tasks, tracking
from immortus_channels.api import links
from immortus_channels.checks.layer_hosts import ask_hosts
from immortus_channels.conf import is_inline, settings
from immortus_channels.exceptions import StoreUnavailable
from immortus_channels.jobs.job import Job, State
from immortus_channels.push.layer import group_name, shared_layer
from immortus_channels.push.messages import Push
from immortus_channels.stores import get_store
from immortus_channels.stores.sqlite.store import SQLiteStore
from immortus_channels.stores.sqlite.witness import testimony
from immortus_channels.websocket import frames

Answer = TypeVar("Answer")
Verdict = Literal["ok", "note", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is known of one part, and its cure if it needs one."""

    part: str
    verdict: Verdict
    told: str
    cure: str = ""


class Command(BaseCommand):
    """Sends a probe job and watches it as a page would."""

    help = "Sends a probe job and tells whether queue, worker, store, channel layer and socket do their part."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take how long to wait, and where to look."""
        parser.add_argument("--timeout", type=float, default=5.0, help="seconds to wait for each part (default: 5)")
        parser.add_argument("--queue", help="the queue to send the probe to (default: where tasks go by default)")
        parser.add_argument("--url", help="the address of the running site, to try its socket: https://example.com")

    def handle(
        self, *_args: object, timeout: float = 5.0, queue: str | None = None, url: str | None = None, **_options: Any
    ) -> None:
        """Examine each part; exit with status 1 when one is wrong."""
        wrong = 0
        for finding in examine(timeout, queue, url):
            self._show(finding)
            wrong += finding.verdict == "wrong"
        if wrong:
            msg = f"{wrong} of the above need a cure."
            raise CommandError(msg)

    def _show(self, finding: Finding) -> None:
        style = {"ok": self.style.SUCCESS, "note": self.style.WARNING, "wrong": self.style.ERROR}[finding.verdict]
        self.stdout.write(f"{style(f'{finding.verdict:5}')} {finding.part:8} {finding.told}")
        if finding.cure:
            self.stdout.write(f"{'':15}→ {finding.cure}")


def examine(timeout: float, queue: str | None, url: str | None) -> Iterator[Finding]:
    """One finding after the other, each within `timeout` seconds or little more."""
    job_id = str(uuid.uuid4())
    yield from _examine_settings()
    store = _examine_store(job_id, timeout)
    yield store
    if store.verdict != "wrong":
        yield from _examine_way(job_id, timeout, queue)
    else:
        yield Finding(part="queue", verdict="note", told="not tried, nor worker and layer: no job can be followed")
    yield _examine_socket(timeout, url)


def _examine_settings() -> Iterator[Finding]:
    found = checks.check_all()
    for message in found:
        verdict: Verdict = "wrong" if message.level >= ERROR else "note"
        yield Finding(part="settings", verdict=verdict, told=f"{message.msg} ({message.id})", cure=message.hint or "")
    if not found:
        yield Finding(part="settings", verdict="ok", told="nothing to complain about")


def _examine_store(job_id: str, timeout: float) -> Finding:
    began = time.monotonic()
    try:
        _within(timeout, lambda: _ask_store(job_id))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is to be told
        cure = "Start it, or correct IMMORTUS_STORE; a database wants `manage.py migrate`."
        return Finding(part="store", verdict="wrong", told=_told(error), cure=cure)
    store = get_store()
    told = f"{type(store).__name__} answered in {_since(began)}"
    if not isinstance(store, SQLiteStore) or is_inline():
        return Finding(part="store", verdict="ok", told=told)
    if store.path is None:
        cure = "`manage.py migrate` makes a file for them beside the database, or says why it cannot."
        return Finding(part="store", verdict="note", told=f"{told}; the database keeps the jobs itself", cure=cure)
    return Finding(part="store", verdict="ok", told=f"{told}; jobs are in {store.path}")


def _ask_store(job_id: str) -> None:
    """Ask as a page does, then by a connection of the kind that writes jobs."""
    store = get_store()
    store.get_many([job_id])
    store.claim_thread()
    try:
        store.get_many([job_id])
    except StoreUnavailable as error:
        msg = f"it answers pages, but not the connection by which jobs are written: {error}"
        raise StoreUnavailable(msg) from error
    finally:
        store.release_thread()


# The way of a job


def _examine_way(job_id: str, timeout: float, queue: str | None) -> Iterator[Finding]:
    """Send the probe, see a worker run it, and hear of it through the channel layer."""
    ear = _Ear(job_id)
    ear.start()
    ear.is_ready.wait(timeout)
    sent = _send(job_id, timeout, queue)
    yield sent
    worked = False
    if sent.verdict == "ok":
        job = _followed(job_id, timeout)
        worked = job is not None and job.state is State.FINISHED
        elsewhere = None if worked else _within(timeout, lambda: testimony(job_id))
        yield _examine_worker(job, timeout) if elsewhere is None else _told_elsewhere(elsewhere)
    layer = _examine_layer(ear, worked=worked)
    yield layer
    yield from _examine_hosts(timeout, is_told=layer.verdict == "wrong")


def _send(job_id: str, timeout: float, queue: str | None) -> Finding:
    celery = queues.by_name("celery")
    if celery is None:
        cure = "`pip install immortus-channels[celery]`; jobs of JobRepository need none."
        return Finding(part="queue", verdict="wrong", told="no task queue is installed", cure=cure)
    began = time.monotonic()
    try:
        _within(timeout, lambda: tasks.probe.apply_async(task_id=job_id, queue=queue, retry=False))
    except Exception as error:  # noqa: BLE001 - each broker has errors of its own
        cure = "Start the broker, or correct its address: CELERY_BROKER_URL, in most projects."
        return Finding(part="queue", verdict="wrong", told=_told(error), cure=cure)
    how = "ran the probe itself, being eager" if celery.is_eager() else "took the probe"
    return Finding(part="queue", verdict="ok", told=f"{celery.name} {how}, in {_since(began)}")


def _followed(job_id: str, timeout: float) -> Job | None:
    """The probe's job when it is over, or when time is; then nobody need run it any more."""
    end = time.monotonic() + timeout
    while True:
        job = _within(timeout, lambda: get_store().get_many([job_id])).jobs.get(job_id)
        if job is not None and job.is_over:
            return job
        if time.monotonic() > end:
            break
        time.sleep(0.05)
    if job is not None:
        _within(timeout, lambda: tracking.cancel(job_id))
    return job


def _examine_worker(job: Job | None, timeout: float) -> Finding:
    match job:
        case None:
            told, cure = "the store never heard of the probe", "The log says why tracking failed."
        case Job(state=State.FINISHED, staff_only=True):
            told = "ran the probe, and was not told whose it is: every job is unknown to whoever sent it"
            cure = "Messages need their headers: set CELERY_TASK_PROTOCOL to 2, and let no router or proxy drop them."
        case Job(state=State.FINISHED):
            waited = ((job.started_at or 0) - (job.enqueued_at or 0)) / 1e6
            return Finding(part="worker", verdict="ok", told=f"ran the probe, which had waited {waited:.2f} s")
        case Job(state=State.ENQUEUED):
            told = f"nobody ran the probe within {timeout:g} s"
            cure = (
                "Start one: `celery -A yourproject worker`. If one runs, it is busy with other jobs (try --timeout "
                "60), listens to another queue (try --queue) or broker, keeps jobs in another store (IMMORTUS_STORE), "
                "or uses gevent or eventlet."
            )
        case Job(error=error) if error is not None and error.code == "unknown_task":
            told = f"does not know the task {job.job_class!r}"
            cure = "Call app.autodiscover_tasks() in your celery.py, and start the worker anew."
        case _:
            told = f"left the probe {job.state}" + (f": {job.error.code}" if job.error is not None else "")
            cure = "The worker's log says why."
    return Finding(part="worker", verdict="wrong", told=told, cure=cure)


def _told_elsewhere(place: str) -> Finding:
    told = f"ran the probe, but keeps its jobs in another file than this process: {place}"
    cure = "Give both the same folder with the database in it; to mount the file of the database alone is not enough."
    return Finding(part="worker", verdict="wrong", told=told, cure=cure)


class _Ear(threading.Thread):
    """Hears what the channel layer says of one job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(name="immortus-doctor", daemon=True)
        self.is_ready = threading.Event()
        self.heard_end = threading.Event()
        self.heard: list[Push] = []
        self.has_layer = True
        self.error: Exception | None = None
        self._job_id = job_id

    def run(self) -> None:
        """Listen until the job is over."""
        try:
            asyncio.run(self._listen())
        except Exception as error:  # noqa: BLE001 - a layer may raise anything
            self.error = error
        self.is_ready.set()

    async def _listen(self) -> None:
        layer = shared_layer()
        if layer is None:
            self.has_layer = False
            return
        channel = await layer.new_channel()
        await layer.group_add(group_name(self._job_id), channel)
        self.is_ready.set()
        while not self.heard_end.is_set():
            push = Push.from_message(await layer.receive(channel))
            if push is not None:
                self.heard.append(push)
                if push.is_over:
                    self.heard_end.set()
        await layer.group_discard(group_name(self._job_id), channel)


def _examine_layer(ear: _Ear, *, worked: bool) -> Finding:
    alias = settings.CHANNEL_LAYER
    if not ear.has_layer:
        return Finding(part="layer", verdict="ok", told="none that reaches other processes: pages re-check the store")
    if ear.error is not None or not ear.is_ready.is_set():
        told = _told(ear.error or TimeoutError())
        cure = f"Start Redis, or correct CHANNEL_LAYERS[{alias!r}]; meanwhile pages re-check the store."
        return Finding(part="layer", verdict="wrong", told=told, cure=cure)
    if worked and not ear.heard_end.wait(1.0):
        told = "the worker's push did not arrive here"
        cure = f"Give the worker the same CHANNEL_LAYERS[{alias!r}], prefix included; its log may say more."
        return Finding(part="layer", verdict="wrong", told=told, cure=cure)
    if not ear.heard:
        cure = "The log says why nothing could be sent."
        return Finding(part="layer", verdict="wrong", told="what was sent here did not come back", cure=cure)
    return Finding(part="layer", verdict="ok", told=f"brought {len(ear.heard)} changes of the probe")


def _examine_hosts(timeout: float, *, is_told: bool) -> Iterator[Finding]:
    """Each host of the layer that does not bring what is sent through it; the probe's group was on one of them.

    Where there is only one, and what is wrong with the layer `is_told`, there is nothing to add.
    """
    try:
        answers = ask_hosts(timeout)
    except Exception:  # noqa: BLE001 - what is wrong with the layer itself was told just before
        return
    for answer in answers:
        if answer.error is not None and not (is_told and len(answers) == 1):
            cure = (
                "Start it, or take it out of `hosts` in every process: pages re-check the jobs whose groups it has. "
                "With a Redis Cluster the pubsub layer works, the core layer does not."
            )
            yield Finding(part="layer", verdict="wrong", told=f"{answer.host}: {_told(answer.error)}", cure=cure)


# The socket


def _examine_socket(timeout: float, url: str | None) -> Finding:
    if not settings.WEBSOCKET:
        return Finding(part="socket", verdict="ok", told="switched off by IMMORTUS_WEBSOCKET: pages poll")
    if url is not None:
        return _knock(url, timeout)
    path = getattr(django_settings, "ASGI_APPLICATION", None)
    if not path:
        return Finding(part="socket", verdict="ok", told="there is no ASGI_APPLICATION: pages poll")
    try:
        greeting = _within(timeout, lambda: asyncio.run(_greeting(import_string(path))))
    except Exception as error:  # noqa: BLE001 - the project's own routing and middleware run here
        cure = "Serve websocket_application of immortus_channels.routing; `manage.py check` may say more."
        return Finding(part="socket", verdict="wrong", told=f"{path}: {_told(error)}", cure=cure)
    if greeting is None or json.loads(greeting).get("type") != "hello":
        cure = "The log says which origin or login was refused."
        return Finding(part="socket", verdict="wrong", told=f"{path} refused it", cure=cure)
    return Finding(part="socket", verdict="ok", told=f"{path} serves it; --url tries the running server as well")


async def _greeting(application: Any) -> str | None:
    """The first frame the application sends to a socket; None when it is refused."""
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    incoming.put_nowait({"type": "websocket.connect"})
    serving = asyncio.ensure_future(application(_handshake(), incoming.get, said.put))
    serving.add_done_callback(lambda _: said.put_nowait({"type": "websocket.close"}))
    try:
        while (event := await said.get())["type"] == "websocket.accept":
            pass
    finally:
        incoming.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait({serving}, timeout=1)
    if serving.done():
        serving.result()
    text: str | None = event.get("text")
    return text


def _handshake() -> dict[str, Any]:
    allowed = (*django_settings.ALLOWED_HOSTS, "localhost")[0]
    host = "localhost" if allowed == "*" else allowed
    path = links.websocket_url() or ""
    return {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "ws",
        "server": (host, 80),
        "client": ("127.0.0.1", 0),
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", host.encode()), (b"origin", f"http://{host}".encode())],
        "subprotocols": [frames.SUBPROTOCOL],
    }


def _knock(url: str, timeout: float) -> Finding:
    """Ask the running server for a socket, as a page of it would."""
    site = _site_at(url)
    if site is None:
        meant = f"http://{url.rpartition('//')[2] or 'localhost:8000'}"
        cure = f"Write http:// or https:// in front: --url {meant if _site_at(meant) else 'http://localhost:8000'}"
        return Finding(part="socket", verdict="wrong", told=f"{url!r} is no address of a site", cure=cure)
    path = f"{site.path.rstrip('/')}/ws/immortus/"
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Origin": f"{site.scheme}://{site.netloc}",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Protocol": frames.SUBPROTOCOL,
    }
    connection = (HTTPSConnection if site.scheme == "https" else HTTPConnection)(site.netloc, timeout=timeout)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
    except (OSError, HTTPException) as error:
        return Finding(part="socket", verdict="wrong", told=f"{url}: {_told(error)}", cure="Start the server.")
    finally:
        connection.close()
    if answer.status == HTTPStatus.SWITCHING_PROTOCOLS:
        return Finding(part="socket", verdict="ok", told=f"{url} opened it")
    told = f"{url} answered {answer.status} to the handshake"
    return Finding(part="socket", verdict="wrong", told=told, cure=_cure_of_refusal(answer))


def _cure_of_refusal(answer: HTTPResponse) -> str:
    """What to do about an answer that opened no socket, by its status and by what the server calls itself."""
    server = answer.headers.get("Server", "")
    if answer.status == HTTPStatus.FORBIDDEN:
        return (
            "Behind a proxy, pass Host on with its port (nginx: $http_host), and for HTTPS set "
            "SECURE_PROXY_SSL_HEADER. Otherwise the server's log names the origin to add to IMMORTUS_ALLOWED_ORIGINS, "
            "or the host for ALLOWED_HOSTS."
        )
    if server.startswith("uvicorn") and answer.status == HTTPStatus.NOT_FOUND:
        return (
            "Uvicorn took it for a plain request: it has no library for sockets (`pip install websockets`), or a proxy "
            "before it does not pass Upgrade on."
        )
    if server.startswith(("WSGIServer", "gunicorn", "waitress")):
        return (
            f"{server.split()[0]} is a WSGI server, which opens no sockets: serve ASGI_APPLICATION by an ASGI server."
        )
    return "It is not an ASGI server, its websocket part leads elsewhere, or a proxy does not pass Upgrade on."


def _site_at(url: str) -> SplitResult | None:
    """The parts of a site's address; None for what is none."""
    try:
        site = urlsplit(url)
        is_one = site.scheme in ("http", "https") and bool(site.hostname) and site.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return None
    return site if is_one else None


# Waiting


def _within(seconds: float, call: Callable[[], Answer]) -> Answer:
    """What `call` returns; raises TimeoutError, and leaves it behind, when it takes longer."""
    answer: Future[Answer] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except Exception as error:  # noqa: BLE001 - raised where it is waited for
            answer.set_exception(error)
        finally:
            connections.close_all()

    threading.Thread(target=run, daemon=True).start()
    return answer.result(seconds)


def _since(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else "no answer in time"
