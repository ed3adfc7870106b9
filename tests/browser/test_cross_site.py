"""Other sites' pages, in the browser of somebody who is logged in: they learn and change nothing, unless they may."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.project import settings as project
from tests.servers import RedisServer
from tests.site import Site, redis_options, running_site

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.slow]

CSRF = "django.middleware.csrf.CsrfViewMiddleware"
CORS = "tests.project.policy.cross_origin_requests"


class Elsewhere(BaseHTTPRequestHandler):
    """An empty page, whatever is asked for."""

    def do_GET(self) -> None:
        body = b"<!doctype html><title>Elsewhere</title><body></body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextmanager
def empty_site() -> Iterator[int]:
    """The port of a web server of somebody else's."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[int]:
    with empty_site() as port:
        yield port


@pytest.fixture(scope="module")
def friend() -> Iterator[str]:
    """The origin of a page that the site allows."""
    with empty_site() as port:
        yield f"http://localhost:{port}"


@pytest.fixture(scope="module", params=["uvicorn", "daphne"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, friend: str
) -> Iterator[Site]:
    """A site with Django's CSRF check, one friend, and a worker."""
    settings = {
        "MIDDLEWARE": [CORS, *project.MIDDLEWARE, CSRF],
        "CORS_ALLOWED_ORIGINS": [friend],
        "IMMORTUS_ALLOWED_ORIGINS": [friend],
    }
    options = redis_options(redis_server.url) | {"BROKER_URL": f"{redis_server.url[:-1]}6"}
    var = tmp_path_factory.mktemp("site")
    with running_site(var, server=request.param, SETTINGS=json.dumps(settings), **options) as site:
        site.start_worker()
        yield site


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    """Alice's browser, logged in."""
    context = browser.new_context()
    context.request.get(f"{site.url}/log-in/alice")
    yield context
    context.close()


def start(site: Site, context: BrowserContext, count: int = 60) -> str:
    answer = context.request.post(f"{site.url}/start/steps", data={"kwargs": {"count": count, "pause": 0.1}})
    return str(answer.json()["job_id"])


TRY_TO_READ = """
async ([site, id]) => {
  const told = [];
  const headers = {Authorization: "Bearer immortus.x"};
  for (const options of [{}, {credentials: "include"}, {credentials: "include", headers}]) {
    for (const path of [`verify/${id}`, `verify?job_id=${id}`, `jobs/${id}/`, "token"]) {
      await fetch(`${site}/immortus/${path}`, options).then(async (answer) => told.push(await answer.text()), () => {});
    }
  }
  const opaque = await fetch(`${site}/immortus/verify/${id}`, {mode: "no-cors", credentials: "include"});
  told.push(await opaque.text());
  return told.filter((text) => text);
}
"""
TRY_TO_WATCH = """
([site, id]) => Promise.all(["", `${id}/`].map((path) => new Promise((settled) => {
  const heard = [];
  const socket = new WebSocket(`${site.replace("http", "ws")}/ws/immortus/${path}`, ["immortus.v1"]);
  socket.onopen = () => socket.send(JSON.stringify({type: "watch", job_id: id}));
  socket.onmessage = ({data}) => heard.push(data);
  socket.onclose = () => settled(heard);
}))).then((all) => all.flat())
"""
TRY_TO_CANCEL = """
async ([site, id]) => {
  const address = `${site}/immortus/cancel/${id}`;
  const options = {method: "POST", mode: "no-cors", credentials: "include"};
  await fetch(address, options);
  await fetch(address, {...options, body: new URLSearchParams({csrfmiddlewaretoken: "a".repeat(32)})});
  const headers = {Authorization: "Bearer immortus.x"};
  await fetch(address, {method: "POST", credentials: "include", headers}).catch(() => {});
  const form = Object.assign(document.createElement("form"), {method: "post", action: address, target: "frame"});
  const frame = Object.assign(document.createElement("iframe"), {name: "frame"});
  document.body.append(frame, form);
  form.submit();
  await new Promise((loaded) => (frame.onload = loaded));
}
"""


@pytest.mark.fault("H7")
@pytest.mark.fault("H9")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_another_sites_page_reads_watches_and_cancels_nothing(
    site: Site, context: BrowserContext, elsewhere: int, host: str
) -> None:
    """127.0.0.1 with another port is another origin of the same site: the browser sends its cookies along."""
    job_id = start(site, context)
    page = context.new_page()
    page.goto(f"http://{host}:{elsewhere}/")
    where = [site.url, job_id]
    assert page.evaluate(TRY_TO_READ, where) == []
    assert page.evaluate(TRY_TO_WATCH, where) == []
    page.evaluate(TRY_TO_CANCEL, where)
    document = context.request.get(f"{site.url}/immortus/verify/{job_id}").json()
    assert document["state"] in ("enqueued", "running")
    assert document["cancel_requested"] is False


FOLLOW = """
([site, id, token]) => new Promise((settled) => {
  const told = {states: [], transports: []};
  addEventListener("immortus:transport", ({detail}) => told.transports.push(detail.transport));
  Immortus.configure({prefix: `${site}/immortus/`, websocket: `${site.replace("http", "ws")}/ws/immortus/`, token});
  Immortus.verify(id).then(
    (job) => settled({...told, end: job.state}),
    (error) => settled({...told, end: error.error.code}),
    (job) => told.states.push(job.state),
  );
})
"""


@pytest.mark.fault("K1")
def test_a_friends_page_follows_a_job_by_a_token_that_ends_meanwhile(
    site: Site, context: BrowserContext, browser: Browser, friend: str
) -> None:
    job_id = start(site, context, 25)
    token = context.request.get(f"{site.url}/token/{job_id}?life=2").text()
    stranger = browser.new_context()
    page = stranger.new_page()
    page.goto(friend)
    page.add_script_tag(url=f"{site.url}/static/immortus_channels/immortus.js")
    told = page.evaluate(FOLLOW, [site.url, job_id, token])
    assert told["end"] == "finished"
    assert "websocket" in told["transports"]
    assert "running" in told["states"]
    assert page.evaluate(FOLLOW, [site.url, job_id, "immortus.forged"])["end"] == "unknown_job"
    assert stranger.cookies() == []
    stranger.close()


# What tasks say

PAYLOAD = "</script><img src=x onerror=\"window.owned = 1\"><svg onload='window.owned = 1'>"
HOSTILE_JOB = """
from immortus_channels import JobFailed, JobRepository
finished, failed = (JobRepository().create(id=id_) for id_ in ("finished-{server}", "failed-{server}"))
with finished.running() as job:
    job.update(message={payload!r})
    job.set_meta(said={payload!r})
    job.set_result({payload!r})
with failed.running() as job:
    raise JobFailed("<b>code</b>", {payload!r})
"""


@pytest.mark.fault("H10")
def test_what_a_task_says_is_text_wherever_it_is_shown(site: Site, context: BrowserContext) -> None:
    site.manage("shell", "-v", "0", "-c", HOSTILE_JOB.format(payload=PAYLOAD, server=site.server))
    broken: list[str] = []
    context.on("console", lambda said: broken.append(said.text) if "Content Security" in said.text else None)
    page: Page = context.new_page()
    failed, finished = f"failed-{site.server}", f"finished-{site.server}"
    page.goto(f"{site.url}/page?job={failed}&job={finished}")
    for job_id in (failed, finished):
        expect(page.locator(f"immortus-job[job-id={job_id}] [data-immortus=message]")).to_have_text(PAYLOAD)
    page.goto(f"{site.url}/immortus/jobs/{failed}/")
    expect(page.get_by_text(PAYLOAD)).to_be_visible()
    assert page.evaluate("window.owned") is None
    assert page.locator("img, svg").count() == 0
    assert broken == []
