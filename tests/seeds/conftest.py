"""The project with its real server and worker, and Chromium to run the JavaScript of the ancestors' texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page

from tests.chromium import chromium
from tests.servers import RedisServer
from tests.site import Site, redis_options, running_site

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.redis)
            if "browser" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer) -> Iterator[Site]:
    options = redis_options(redis_server.url) | {"BROKER_URL": f"{redis_server.url[:-1]}10"}
    with running_site(tmp_path_factory.mktemp("seeds"), **options) as site:
        site.start_worker("-Q", "celery,videojobs,premium_videojobs")
        yield site


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, closed with the package."""
    with chromium() as running:
        yield running


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    """One person's browser; an error that no script caught fails the test."""
    context = browser.new_context(base_url=site.url)
    mistakes: list[str] = []
    context.on("weberror", lambda mistake: mistakes.append(str(mistake.error)))
    yield context
    context.close()
    assert not mistakes


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


@pytest.fixture
def lines(page: Page) -> list[str]:
    """What the page writes to the console."""
    lines: list[str] = []
    page.on("console", lambda said: lines.append(said.text))
    return lines


@pytest.fixture
def alerts(page: Page) -> list[str]:
    """What the page alerts, each closed at once."""
    alerts: list[str] = []

    def close(dialog: Dialog) -> None:
        alerts.append(dialog.message)
        dialog.accept()

    page.on("dialog", close)
    return alerts


@pytest.fixture
def until(page: Page) -> Callable[..., None]:
    """Wait for a fact, letting Playwright hear of events meanwhile."""

    def until(fact: Callable[[], object], within: float = 15) -> None:
        for _ in range(int(within * 20)):
            if fact():
                return
            page.wait_for_timeout(50)
        message = f"not within {within} s"
        raise TimeoutError(message)

    return until


@pytest.fixture
def hasten(page: Page, until: Callable[..., None]) -> Callable[[Callable[[], object]], None]:
    """Wait for a fact, on pages where a second passes with each look; to be asked for before a page is opened."""
    page.clock.install()

    def hasten(fact: Callable[[], object]) -> None:
        until(lambda: fact() or page.clock.run_for(1_000))

    return hasten
