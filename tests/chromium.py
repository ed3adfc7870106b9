"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.servers import need


@contextmanager
def chromium(**options: Any) -> Iterator[Any]:
    """A browser, launched with Playwright's `options`; while it lives, an event loop runs in the calling thread."""
    # The shell is the same browser without its windows, and takes a third of the time.
    found = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    executable = need(found, "Chromium", "on Debian: apt install chromium-headless-shell, or chromium")
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=executable, args=arguments, **options)
        yield browser
        browser.close()
