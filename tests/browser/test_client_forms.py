"""Each form of the client in Chromium: script and module, readable and minified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route

import immortus_channels
from immortus_channels.jobs import Job, State

STATIC = Path(immortus_channels.__file__).parent / "static" / "immortus_channels"
SHOP = "http://shop.test"
RUNNING = Job(job_id="a", job_class="shop.tasks.resize", state=State.RUNNING, version=2).document
FINISHED = Job(job_id="b", job_class="shop.tasks.resize", state=State.FINISHED, version=3).document

MODULE = """<script type="module">
import Immortus, {{ verify }} from "/{name}";
window.same = Immortus === window.Immortus && verify === Immortus.verify;
</script>"""
SCRIPT = """<script src="/{name}"></script><script>window.same = true</script>"""
BODY = """<!doctype html>{loads}
<immortus-job job-id="a"><span data-immortus="state"></span></immortus-job>"""

STOPPED = """async () => {
  const calls = [];
  const note = (name) => () => calls.push(name);
  const verification = Immortus.verify("a");
  const awaited = (async () => verification)().catch((error) => error.name);
  verification.then(note("done"), note("failed"), note("progress"));
  const finished = await Immortus.verify("b");
  await new Promise((resolve) => verification.then(null, null, resolve));
  verification.stop();
  return [finished.state, await awaited, calls];
}"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(base_url=SHOP)
    page = context.new_page()
    page.route("**/*", answer)
    yield page
    context.close()


def answer(route: Route) -> None:
    """A shop without sockets: a page for each form, its files, and two jobs."""
    path = route.request.url.removeprefix(f"{SHOP}/")
    if path.startswith("page/"):
        name = path.removeprefix("page/")
        loads = (MODULE if "module" in name else SCRIPT).format(name=name)
        route.fulfill(body=BODY.format(loads=loads), content_type="text/html")
    elif (STATIC / path).is_file():
        route.fulfill(path=STATIC / path, content_type="text/javascript")
    elif path.startswith("immortus/verify"):
        by_id = {"verify/a": RUNNING, "verify/b": FINISHED}
        known = by_id.get(path.removeprefix("immortus/"), {"jobs": [RUNNING, FINISHED]})
        route.fulfill(body=json.dumps(known), content_type="application/json")
    else:
        route.abort()


@pytest.mark.parametrize("name", ["immortus.js", "immortus.min.js", "immortus.module.js", "immortus.module.min.js"])
def test_a_form_of_the_client_follows_jobs_fills_elements_and_stops(page: Page, name: str) -> None:
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{SHOP}/page/{name}")
    page.wait_for_selector('immortus-job[state="running"]')
    assert page.inner_text("immortus-job") == "running"
    assert page.evaluate("window.same") is True
    assert page.evaluate(STOPPED) == ["finished", "AbortError", ["progress"]]
    assert errors == []
