"""gunicorn and an ASGI server behind nginx over HTTPS, as the documents print it: the site's own pages open sockets."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.pages_of_docs import Page, page
from tests.servers import NginxServer, need
from tests.site import Site, eventually
from tests.watcher import SocketWatcher

pytestmark = pytest.mark.slow

DEPLOYMENT = page("how-to/deployment.md")


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """What visitors meet."""

    port: int
    trust: ssl.SSLContext
    http: httpx.Client
    site: Site

    @property
    def origin(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def watch(self, *job_ids: str, origin: str | None = None) -> SocketWatcher:
        """A socket as a page of that origin opens it, with the visitor's cookies."""
        cookies = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())
        return SocketWatcher(
            f"wss://127.0.0.1:{self.port}/ws/immortus/",
            *job_ids,
            ssl=self.trust,
            origin=origin or self.origin,
            additional_headers={"Cookie": cookies},
        )


class SecureNginxServer(NginxServer):
    """An nginx that speaks TLS and passes on by port: 8000 and 8001 of the block are these."""

    def __init__(self, block: str, http: int, sockets: int, var: Path) -> None:
        for printed, real in ((8000, http), (8001, sockets)):
            block = block.replace(f"http://127.0.0.1:{printed};", f"http://localhost:{real};")
        super().__init__(block, [http])
        file = self.directory / "nginx.conf"
        listen = f"listen 127.0.0.1:{self.port}"
        secure = f"{listen} ssl; ssl_certificate {var}/cert.pem; ssl_certificate_key {var}/key.pem"
        file.write_text(file.read_text().replace(listen, secure))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a certificate for 127.0.0.1 that signs itself."""
    openssl = need(shutil.which("openssl"), "openssl", "install it (Debian: apt install openssl)")
    folder = tmp_path_factory.mktemp("certificate")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    files = ("-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run([openssl, *command.split(), *files], check=True, capture_output=True)
    return folder


def nginx_of(one: Page) -> str:
    """The block as printed."""
    return next(sample.text for sample in one.samples if sample.language == "nginx" and "Upgrade" in sample.text)


def settings_of(one: Page) -> dict[str, Any]:
    """What the same page says of HTTPS."""
    told: dict[str, Any] = {}
    exec(next(sample.text for sample in one.samples if "SECURE_PROXY_SSL_HEADER =" in sample.text), told)
    del told["__builtins__"]
    return told


@contextmanager
def standing(var: Path, certificate: Path, block: str, settings: dict[str, Any], server: str) -> Iterator[Front]:
    """All of it but a worker, with these settings."""
    with ExitStack() as stack:
        told = {"SETTINGS": json.dumps({"SESSION_COOKIE_SECURE": True, "CSRF_COOKIE_SECURE": True, **settings})}
        http, sockets = Site(var, server="gunicorn", **told), Site(var, server=server, **told)
        http.migrate()
        for site in (http, sockets):
            stack.callback(site.close)
            site.start_web()
        nginx = stack.enter_context(SecureNginxServer(block, http.port, sockets.port, certificate))
        trust = ssl.create_default_context(cafile=f"{certificate}/cert.pem")
        base = f"https://127.0.0.1:{nginx.port}"
        client = stack.enter_context(httpx.Client(base_url=base, verify=trust, timeout=20))
        yield Front(port=nginx.port, trust=trust, http=client, site=http)


@pytest.fixture(
    scope="module",
    params=["daphne", "uvicorn"],
)
def front(request, tmp_path_factory, certificate) -> Iterator[Front]:
    block, settings = nginx_of(DEPLOYMENT), settings_of(DEPLOYMENT)
    with standing(tmp_path_factory.mktemp("https"), certificate, block, settings, request.param) as front:
        front.site.start_worker(concurrency=1)
        yield front


def status_for(front: Front, origin: str) -> int:
    """What a handshake from that origin is answered with."""
    try:
        with front.watch(origin=origin):
            return 101
    except InvalidStatus as error:
        return error.response.status_code


def test_a_job_is_followed_over_the_socket_to_its_end(front):
    front.http.get("/log-in/alice")
    answer = front.http.post("/start/steps", json={"kwargs": {"count": 5, "pause": 0.2}})
    job = answer.json()["job_id"]
    with front.watch(job) as watcher:
        watcher.until_over(job, within=30)
    assert watcher.documents[job][-1] == front.http.get(f"/immortus/verify/{job}").json()


def test_the_page_s_own_origin_opens_sockets_and_no_other_does(front):
    assert status_for(front, front.origin) == 101
    for origin in (
        front.origin.replace("https", "http"),
        "https://127.0.0.1",
        "https://www.example.org",
        "capacitor://localhost",
        f"https://localhost:{front.port}",
    ):
        assert status_for(front, origin) == 403, origin


def test_a_form_over_https_is_believed_too(front):
    front.http.get("/log-in/alice")
    job = front.http.post("/start/steps", json={"kwargs": {"count": 50, "pause": 0.2}}).json()["job_id"]
    eventually(lambda: front.http.get(f"/immortus/verify/{job}").json()["state"] == "running", within=20)
    front.http.get(f"/immortus/jobs/{job}/")
    headers = {"Origin": front.origin, "X-CSRFToken": front.http.cookies.get("csrftoken", "")}
    answer = front.http.post(f"/immortus/cancel/{job}", headers=headers)
    assert answer.status_code == 202, answer.text


def test_without_the_setting_every_socket_is_refused(tmp_path, certificate):
    with standing(tmp_path, certificate, nginx_of(DEPLOYMENT), {}, "daphne") as front:
        assert status_for(front, front.origin) == 403


def test_without_the_port_in_the_host_every_socket_is_refused(tmp_path, certificate):
    block = nginx_of(DEPLOYMENT).replace("$http_host", "$host")
    with standing(tmp_path, certificate, block, settings_of(DEPLOYMENT), "daphne") as front:
        assert status_for(front, front.origin) == 403


def test_an_app_s_pages_open_sockets_where_its_origin_is_named(tmp_path, certificate):
    named = {"IMMORTUS_ALLOWED_ORIGINS": ["capacitor://localhost"], **settings_of(DEPLOYMENT)}
    with standing(tmp_path, certificate, nginx_of(DEPLOYMENT), named, "daphne") as front:
        assert status_for(front, "capacitor://localhost") == 101
        assert status_for(front, front.origin) == 101
        assert status_for(front, "capacitor://elsewhere") == 403
