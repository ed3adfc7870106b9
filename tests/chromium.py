"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.servers import need

SHELL = "chromium-headless-shell"
"""The same engine in a third of the time, without windows, a back-forward cache, and forms that are sent by script."""


@contextmanager
def chromium(*, whole: bool = False, **options: Any) -> Iterator[Any]:
    """A browser, launched with Playwright's `options`; while it lives, an event loop runs in the calling thread.

    It is the shell where that is installed, unless the `whole` of it is needed.
    """
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as playwright, launched(playwright.chromium, whole=whole, **options) as browser:
        yield browser


@contextmanager
def launched(kind: Any, *, whole: bool, **options: Any) -> Iterator[Any]:
    """One more browser of a Playwright that runs: `kind` is the `browser_type` of another one."""
    found = (None if whole else shutil.which(SHELL)) or shutil.which("chromium")
    executable = need(found, "Chromium", f"on Debian: apt install chromium {SHELL}")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    browser = kind.launch(executable_path=executable, args=arguments, **options)
    yield browser
    browser.close()
